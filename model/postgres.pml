/* The ordering of the cache in front of PostgreSQL, docs/postgres.md: two callers in this process,
 * of whom one writes, a client of the server elsewhere, three keys.
 *
 * The server puts a transaction into its log, and makes it visible later: before or after the log
 * is flushed. What is flushed is sent. The numbers in brackets are the rules of docs/postgres.md.
 * Time (rules 8 and 9, but for the position of a fence) is left out, and so is what names a key
 * (3). DEFECT chooses a rule that is broken: see ci/model.sh.
 */

#define KEYS 3
#define CALLERS 2
#ifndef OTHER
#define OTHER 6       /* the keys that the client elsewhere changes */
#endif
#ifndef FIRST
#define FIRST 2       /* what the caller who does not write reads first, */
#define SECOND 1      /* and then */
#endif
#define TX 2
#define ALL 7         /* all keys, a bit for each */
#define HAS(set, k) (((set) >> (k)) & 1)

/* Defects. */
#define NO_WAIT 1          /* what was read is used although the stream is behind it */
#define NO_LEASE 2         /* it is installed although a change has overtaken it */
#define HIDDEN_IGNORED 3   /* it is installed although it misses what the stream has told of */
#define FLUSHED_FENCE 4    /* a fence has the end of the log as flushed */
#define BREAK_IGNORED 5    /* a break leaves the cache as it is */
#define SLOT_AT_ONCE 6     /* a new stream is served from as soon as its slot is made */
#define NUMBER_LATE 7      /* a transaction's number is noted after its commit here */
#ifndef DEFECT
#define DEFECT 0
#endif

/* The server. Transactions have the numbers of their places in the log. */
byte logged, flushed;
byte touches[TX + 1];          /* the keys that each has changed */
bool visible[TX + 1];
byte was[(TX + 1) * KEYS];     /* which one changed a key last, in each beginning of the log */

/* The stream, and the cache. */
#define NOTHING 255
byte position;                 /* all up to here is applied */
byte noted;                    /* the numbers that a read must see: */
byte forgotten;                /* those after this one */
byte serving = 1;              /* the link that is served from; 0: none */
byte held[KEYS];               /* what the cache holds; at first all, as it was */
bool mark[CALLERS * KEYS];     /* leases */

bool seen[CALLERS * (TX + 1)]; /* of which transactions a caller has seen something */

/* Commits a transaction: it must wait for one that has changed the same rows. */
inline transact(keys, number) {
    atomic {
        logged == 0 || visible[1] || !(touches[1] & (keys)) ->
        logged++;
        number = logged;
        touches[number] = keys;
        k = 0;
        do
        :: k < KEYS ->
            if
            :: HAS(keys, k) -> was[number * KEYS + k] = number
            :: else -> was[number * KEYS + k] = was[(number - 1) * KEYS + k]
            fi;
            k++
        :: k == KEYS -> k = 0; break
        od
    };
    visible[number] = true
}

active proctype Elsewhere() {
    byte k, number;
    transact(OTHER, number);
    number = 0
}

/* Every entry is the value of its key as of the position, or of the one that is being reached. */
#define IN_LOG(n) ((held[0] == NOTHING || held[0] == was[(n) * KEYS]) && \
    (held[1] == NOTHING || held[1] == was[(n) * KEYS + 1]) && \
    (held[2] == NOTHING || held[2] == was[(n) * KEYS + 2]))
#define IS_OF_ONE_POSITION (IN_LOG(position) || position < logged && IN_LOG(position + 1))

inline drop_keys(keys) {
    do
    :: k < KEYS ->
        if
        :: HAS(keys, k) -> held[k] = NOTHING; mark[k] = false; mark[KEYS + k] = false
        :: else
        fi;
        k++
    :: k == KEYS -> k = 0; break
    od
}

/* [10] What is before the slot is visible. */
#if DEFECT == SLOT_AT_ONCE
#define MAY_OPEN true
#else
#define MAY_OPEN ((start < 1 || visible[1]) && (start < 2 || visible[2]))
#endif

/* [2] Applies what comes. The stream breaks once, at any time. */
active proctype Stream() {
    byte k, start;
    bool broke, closed;
end:
    do
    :: position < logged ->
        flushed = (flushed > position -> flushed : position + 1); /* only then is it sent */
#if DEFECT != NUMBER_LATE
        noted = position + 1;
#endif
        d_step { drop_keys(touches[position + 1]) }; /* one commit */
#if DEFECT == NUMBER_LATE
        noted = position + 1;
#endif
        d_step { position++; assert(serving == 0 || IS_OF_ONE_POSITION) }
    :: !broke ->
        d_step { broke = true; closed = true; serving = 0 }; /* [11] first this, */
#if DEFECT != BREAK_IGNORED
        d_step { drop_keys(ALL) };                           /* then that */
#endif
        /* [1] a new slot */
        d_step {
            flushed = logged; start = logged;
            position = start; noted = start; forgotten = start
        }
    :: d_step {
            closed && MAY_OPEN -> closed = false; serving = 2; start = 0
        }
    od
}

/* What is returned has all or nothing of each transaction, and all of those of which the caller has
 * seen something. */
inline returned(keys) {
    d_step {
        t = 1;
        do
        :: t <= logged ->
            all = true; some = false;
            do
            :: k < KEYS ->
                if
                :: HAS((keys) & touches[t], k) ->
                    all = all && answer[k] >= t;
                    some = some || answer[k] >= t
                :: else
                fi;
                k++
            :: k == KEYS -> k = 0; break
            od;
            assert(all || !some);
            assert(all || !seen[me * (TX + 1) + t]);
            seen[me * (TX + 1) + t] = seen[me * (TX + 1) + t] || some;
            t++
        :: t > logged -> break
        od;
        t = 0; all = false; some = false; answer[0] = 0; answer[1] = 0; answer[2] = 0
    }
}

/* [5] Waits until the stream that is served from has reached `fence`. */
inline catch_up() {
    link = serving;
    link == 0 || serving != link || position >= fence
}

/* get_many of keys. */
inline get_many(keys) {
    link = serving;
    d_step {
        present = true;
        do
        :: k < KEYS ->
            answer[k] = held[k];
            present = present && (!HAS(keys, k) || held[k] != NOTHING);
            k++
        :: k == KEYS -> k = 0; break
        od
    };
    if
    :: link != 0 && present
    :: else ->
        /* [4] leases, and then what the read must see */
        if
        :: link != 0 ->
            d_step {
                do
                :: k < KEYS -> mark[me * KEYS + k] = HAS(keys, k); k++
                :: k == KEYS -> k = 0; break
                od
            };
        :: else
        fi;
        d_step { begun = (link != 0 -> serving : 0); since = forgotten; to_see = noted };
        /* the snapshot, and a position after it */
        d_step {
            answer[0] = 0; answer[1] = 0; answer[2] = 0;
            sees = true;
            t = 1;
            do
            :: t <= logged ->
                sees = sees && (visible[t] || t <= since || t > to_see);
                do
                :: k < KEYS ->
                    answer[k] = (visible[t] && HAS(touches[t], k) -> t : answer[k]);
                    k++
                :: k == KEYS -> k = 0; break
                od;
                t++
            :: t > logged -> break
            od;
            t = 0;
#if DEFECT == FLUSHED_FENCE
            fence = flushed
#else
            fence = logged
#endif
        };
#if DEFECT != NO_WAIT
        catch_up();
#endif
        /* [6] [7] [11] */
        if
#if DEFECT == HIDDEN_IGNORED
        :: begun != 0 && serving == begun ->
#else
        :: begun != 0 && serving == begun && sees ->
#endif
            d_step {
                if
#if DEFECT == NO_LEASE
                :: true ->
#else
                :: (!HAS(keys, 0) || mark[me * KEYS]) && (!HAS(keys, 1) || mark[me * KEYS + 1]) &&
                   (!HAS(keys, 2) || mark[me * KEYS + 2]) ->
#endif
                    do
                    :: k < KEYS -> held[k] = (HAS(keys, k) -> answer[k] : held[k]); k++
                    :: k == KEYS -> k = 0; break
                    od;
                    assert(serving == 0 || IS_OF_ONE_POSITION)
                :: else
                fi
            }
        :: else
        fi;
        d_step {
            mark[me * KEYS] = false; mark[me * KEYS + 1] = false; mark[me * KEYS + 2] = false;
            begun = 0; since = 0; to_see = 0; sees = false; fence = 0
        }
    fi;
    d_step { link = 0; present = false };
    returned(keys)
}

proctype Caller(byte me) {
    byte k, t, number, link, begun, since, to_see, fence, answer[KEYS];
    bool present, sees, all, some;
    if
    :: me == 0 ->
        transact(3, number);
        /* wait_for */
        fence = logged;
        catch_up();
        d_step { seen[number] = true; number = 0; fence = 0; link = 0 };
        get_many(3)
    :: me == 1 ->
        get_many(FIRST);
        get_many(SECOND)
    fi
}

init {
    /* The cache has some of the entries. */
    atomic {
        if
        :: held[0] = NOTHING
        :: held[1] = NOTHING; held[2] = NOTHING
        fi;
        run Caller(0);
        run Caller(1)
    }
}
