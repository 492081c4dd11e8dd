/* The near cache's ordering, docs/near.md: two callers in this process, a client of the server
 * elsewhere, three keys.
 *
 * The server executes one command at a time, and writes replies and pushes into one stream. The
 * read loop takes one frame after the other. The numbers in brackets are the rules of docs/near.md.
 * Time (rules 8 to 10) is in near_age.pml. DEFECT chooses a rule that is broken: see ci/model.sh.
 */

#define KEYS 3
#define CALLERS 2
#ifndef CHANGES
#define CHANGES 2     /* by the client elsewhere */
#endif
#define STATES (CHANGES + 2) /* of the server: at first, after each change, and after exec */
#define ALL 7         /* all keys, a bit for each */
#define HAS(set, k) (((set) >> (k)) & 1)

/* Defects. */
#define NO_MARKS 1         /* a reply is installed although a push has marked its key */
#define HITS_UNCHECKED 2   /* whether the hits are still there is not asked when the reply comes */
#define NO_SECOND_DROP 3   /* a writer returns without having dropped the entries once more */
#define BREAK_IGNORED 4    /* a break leaves the L1 as it is */
#define RELAYED 5          /* a push is handed to another task, and applied later */
#define APART 6            /* pushes have a connection of their own: no order to the replies */
#define RESULT_SHARED 7    /* a caller takes the result of another one's read that is under way */
#ifndef DEFECT
#define DEFECT 0
#endif

mtype = { push, reply, done };

/* The server. */
byte state;                    /* the number of its changes */
byte value[KEYS];              /* the change that wrote the key last */
byte was[STATES * KEYS];       /* what each key held in each state */
bool tracked[KEYS];            /* who reads a key is told of its next change */
chan requests = [CALLERS] of { byte, byte, bool };     /* caller, keys, whether it writes */
chan stream = [10] of { mtype, byte, byte, byte, byte }; /* [1] key or caller, values */
#if DEFECT == APART
chan pushes = [10] of { byte };
#define PUSH(k) pushes!k
#else
#define PUSH(k) stream!push(k, 0, 0, 0)
#endif

/* This process. */
#define NOTHING 255
byte l1[KEYS] = NOTHING;       /* what the L1 holds */
byte stamp[KEYS];              /* differs for each install of a key */
bool mark[CALLERS * KEYS];     /* the leases of reads in flight */
byte answer[CALLERS * KEYS];   /* what the reply says */
bool waiting[CALLERS];
bool failed[CALLERS];          /* the link broke while the caller waited */
bool broken;
byte floor;                    /* no read that begins now may show an earlier state */
byte relayed = NOTHING;
#if DEFECT == RESULT_SHARED
byte under_way[CALLERS];       /* the keys that the caller reads from the server */
#endif

/* The server changes keys, and tells the cache if it reads them. */
inline change(keys) {
    state++;
    k = 0;
    do
    :: k < KEYS ->
        if
        :: HAS(keys, k) -> value[k] = state
        :: else
        fi;
        was[state * KEYS + k] = value[k];
        k++
    :: k == KEYS -> k = 0; break
    od
}

inline tell(keys) {
    do
    :: k < KEYS ->
        if
        :: HAS(keys, k) && tracked[k] -> tracked[k] = false; PUSH(k)
        :: else
        fi;
        k++
    :: k == KEYS -> k = 0; break
    od
}

active proctype Server() {
    byte caller, keys, k;
    bool writes;
end:
    do
    :: atomic {
            requests?caller, keys, writes ->
            if
            :: writes ->
                change(keys);
                stream!done(caller, state, 0, 0); /* the reply to EXEC comes before the pushes */
                tell(keys)
            :: else ->
                do
                :: k < KEYS -> tracked[k] = tracked[k] || HAS(keys, k); k++
                :: k == KEYS -> k = 0; break
                od;
                stream!reply(caller, value[0], value[1], value[2])
            fi;
            caller = 0; keys = 0; writes = false
        }
    od
}

active proctype Elsewhere() {
    byte n, k;
    do
    :: n < CHANGES ->
        atomic {
            if
            :: change(3); tell(3)
            :: change(6); tell(6)
            fi;
            n++
        }
    :: n == CHANGES -> break
    od
}

/* The connection breaks once, at any time. What is in flight is lost. */
active proctype Breaks() {
    byte k;
    atomic {
        broken = true;
        do
        :: requests?[_, _, _] -> requests?_, _, _
        :: stream?[_, _, _, _, _] -> stream?_, _, _, _, _
        :: empty(requests) && empty(stream) -> break
        od;
        tracked[0] = false; tracked[1] = false; tracked[2] = false
    };
    /* [7] The L1 is cleared by one commit before a read uses the new link. */
    d_step {
#if DEFECT != BREAK_IGNORED
        do
        :: k < KEYS -> l1[k] = NOTHING; mark[k] = false; mark[KEYS + k] = false; k++
        :: k == KEYS -> k = 0; break
        od;
#endif
        failed[0] = waiting[0]; waiting[0] = false;
        failed[1] = waiting[1]; waiting[1] = false;
        relayed = NOTHING;
        broken = false
    }
}

inline apply(k) {
    l1[k] = NOTHING; mark[k] = false; mark[KEYS + k] = false
}

/* Whether there is a state from `first` on that holds what `held` says. */
#define IN_L1(k) (l1[k] == NOTHING || l1[k] == was[n * KEYS + k])
#define HELD_IN(k) (held[k] == NOTHING || held[k] == was[n * KEYS + k])
inline find_state(first) {
    n = first;
    do
    :: n > state -> break
    :: n <= state && HELD_IN(0) && HELD_IN(1) && HELD_IN(2) -> break
    :: else -> n++
    od;
    assert(n <= state)
}

/* [2] Takes one frame after the other. */
active proctype ReadLoop() {
    byte caller, k, held[KEYS];
    mtype kind;
end:
    do
    :: atomic {
            stream?kind, caller, held[0], held[1], held[2] ->
            if
            :: kind == push ->
#if DEFECT == RELAYED
                if
                :: relayed == NOTHING -> relayed = caller
                :: else -> apply(caller)
                fi
#else
                apply(caller)
#endif
            :: kind == done -> answer[caller * KEYS] = held[0]; waiting[caller] = false
            :: kind == reply ->
                answer[caller * KEYS] = held[0];
                answer[caller * KEYS + 1] = held[1];
                answer[caller * KEYS + 2] = held[2];
                waiting[caller] = false
            fi;
            kind = 0; caller = 0; held[0] = 0; held[1] = 0; held[2] = 0
        }
#if DEFECT == APART
    :: atomic { pushes?caller -> apply(caller); caller = 0 }
#endif
#if DEFECT == RELAYED
    :: atomic { relayed != NOTHING -> apply(relayed); relayed = NOTHING }
#endif
    od
}

/* Asks the server, and waits. */
inline ask(keys, writes) {
    atomic {
        !broken;
        waiting[me] = true; failed[me] = false;
        requests!me, keys, writes
    };
    !waiting[me]
}

inline drop_entries(keys) {
    d_step {
        do
        :: k < KEYS ->
            if
            :: HAS(keys, k) -> apply(k)
            :: else
            fi;
            k++
        :: k == KEYS -> k = 0; break
        od
    }
}

/* One MULTI/EXEC of two keys. */
inline exec(keys) {
    drop_entries(keys); /* [6] before it is sent */
    ask(keys, true);
#if DEFECT != NO_SECOND_DROP
    drop_entries(keys); /* [6] and when its outcome is known */
#endif
    if
    :: atomic { !failed[me] -> floor = (answer[me * KEYS] > floor -> answer[me * KEYS] : floor) }
    :: failed[me]
    fi
}

/* [4] Installs a reply where its marks are still set: one commit. */
inline install(keys) {
    d_step {
        do
        :: k < KEYS ->
            if
#if DEFECT == NO_MARKS
            :: HAS(keys, k) ->
#else
            :: HAS(keys, k) && mark[me * KEYS + k] ->
#endif
                l1[k] = answer[me * KEYS + k]; stamp[k]++
            :: else
            fi;
            mark[me * KEYS + k] = false;
            k++
        :: k == KEYS -> k = 0; break
        od;
        /* At every moment, the entries are values of one state of the server. */
        n = 0;
        do
        :: n > state -> break
        :: n <= state && IN_L1(0) && IN_L1(1) && IN_L1(2) -> break
        :: else -> n++
        od;
        assert(n <= state);
        n = 0
    }
}

/* get_many of all keys. */
inline get_many() {
    d_step {
        since = floor;
        missing = 0;
        do
        :: k < KEYS ->
            held[k] = l1[k]; stamps[k] = stamp[k];
            if
            :: l1[k] == NOTHING -> missing = missing | (1 << k)
            :: else
            fi;
            k++
        :: k == KEYS -> k = 0; break
        od
    };
    if
    :: missing == 0
    :: missing != 0 ->
take_marks:
        atomic {
            do
            :: k < KEYS -> mark[me * KEYS + k] = HAS(missing, k); k++ /* [3] before it is sent */
            :: k == KEYS -> k = 0; break
            od
        };
#if DEFECT == RESULT_SHARED
        if
        :: atomic {
                (missing & under_way[1 - me]) == missing ->
                do
                :: k < KEYS -> mark[me * KEYS + k] = false; k++
                :: k == KEYS -> k = 0; break
                od
            };
            !waiting[1 - me];
            atomic {
                failed[me] = failed[1 - me];
                do
                :: k < KEYS -> answer[me * KEYS + k] = answer[(1 - me) * KEYS + k]; k++
                :: k == KEYS -> k = 0; break
                od
            };
            goto read
        :: else
        fi;
        under_way[me] = missing;
#endif
        ask(missing, false); /* [5] by one command */
        if
        :: !failed[me] -> install(missing)
        :: else
        fi;
#if DEFECT == RESULT_SHARED
        under_way[me] = 0;
read:
#endif
        atomic {
            fits = true;
            do
            :: k < KEYS ->
                if
                :: HAS(missing, k) -> held[k] = answer[me * KEYS + k]
                :: else -> /* [5] the hits are still there */
                    fits = fits && l1[k] == held[k] && stamp[k] == stamps[k]
                fi;
                k++
            :: k == KEYS -> k = 0; break
            od;
#if DEFECT == HITS_UNCHECKED
            fits = true;
#endif
            if
            :: !failed[me] && !fits -> missing = ALL; fits = false; goto take_marks
            :: else
            fi
        }
    fi;
    /* What is returned is of one state, and no earlier one than was seen before. */
    d_step {
        if
        :: failed[me] && missing != 0 /* an error */
        :: else ->
            find_state(since);
            floor = (n > floor -> n : floor)
        fi;
        n = 0; fits = false; since = 0; missing = 0; failed[me] = false;
        held[0] = 0; held[1] = 0; held[2] = 0; stamps[0] = 0; stamps[1] = 0; stamps[2] = 0
    }
}

proctype Caller(byte me) {
    byte k, n, since, missing, held[KEYS], stamps[KEYS];
    bool fits;
    if
    :: me == 0 -> exec(5)
    :: get_many()
    fi;
    if
    :: me == 0 -> get_many()
    :: else
    fi
}

init {
    atomic { run Caller(0); run Caller(1) }
}
