/* The near cache's terms in a cluster, docs/near.md: one slot that moves between two nodes, two
 * keys in it that each change writes together, and callers in this process.
 *
 * A slot moves key by key, and a node says ASK for keys that have left; or another node takes it
 * over, and the old one answers from what it had until it hears of that. Keys leave without a push,
 * as those do that are known as absent. If they come back changed, who has read them there before
 * is told; the bound on the age holds without that, too. Each node has a stream of its own; messages
 * take any time, and between two streams there is no order. Time goes on in ticks, at any moment.
 * The numbers in brackets are the rules of docs/near.md. DEFECT chooses a rule that is broken: see
 * ci/model.sh.
 */

#define KEYS 2
#define CHANGES 1     /* by a client elsewhere */

/* How many callers, calls of the first one (the second makes one less), moves of the slot,
 * heartbeats, and ticks until time stands still: without ticks, time plays no part. */
#ifndef SETUP
#define SETUP 1
#endif
#if SETUP == 1        /* the bound on the age: what is known at first is looked at */
#define CALLERS 1
#define GETS 1
#define MOVES 2       /* away and back */
#define BEATS 2
#define TICKS 2
#elif SETUP == 2      /* from here on, that nothing is older than what was seen */
#define CALLERS 1
#define GETS 2
#define MOVES 2
#define BEATS 2
#define TICKS 0
#elif SETUP == 3
#define CALLERS 1
#define GETS 3
#define MOVES 1
#define BEATS 1
#define TICKS 0
#elif SETUP == 4
#define CALLERS 2
#define GETS 2
#define MOVES 1
#define BEATS 1
#define TICKS 0
#elif SETUP == 5      /* nothing is known at first */
#define CALLERS 2
#define GETS 2
#define MOVES 2
#define BEATS 1
#define TICKS 0
#endif
#define MOST 1        /* the bound on the age, `max_staleness` */
#define NEVER 255
#define NOTHING 255
#define NONE 2        /* no node */

/* Defects. */
#define REDIRECT_IGNORED 1   /* a slot's term goes on although another node has answered for it */
#define EPOCH_IGNORED 2      /* a term goes on if its slot has left and come back in between */
#define LEAVING_COUNTS 3     /* a slot that its owner gives away is settled */
#define FIRST_CLAIM_COUNTS 4 /* of two nodes that claim the slot, not the later epoch has it */
#define ONE_ANSWER_COUNTS 5  /* a heartbeat is over when the slot's node has answered */
#define LINK_FIRST 6         /* a reader takes the link first, and then the term */
#define BEGUN_BEFORE_ROUTE 7 /* a term begins before its route is there */
#define ENTRY_WITHOUT_TERM 8 /* what is read belongs to the term under way when it is installed */
#define LEFT_ONCE 9          /* the term ends at the redirect, and not again at the answer */
#define HIT_WITHOUT_TERM 10  /* a hit does not ask whether its term is under way */
#define OLD_ROUTE_COUNTS 11  /* an answer by a route whose term has ended is like any other */
#ifndef DEFECT
#define DEFECT 0
#endif

mtype = { get, asking, push, reply, moved, ask };

byte now;

/* The nodes. */
byte state;                     /* of the slot: the number of its changes */
byte over[CHANGES + 1] = NEVER; /* when each was replaced */
byte at[KEYS];                  /* the node that has the key */
byte was;                       /* the state in which the slot left: a node that has lost it
                                 * unawares goes on to answer from that */
bool silent;                    /* a slot has come back changed, without a push */
bool claims[2];
byte epoch[2];
bool leaving;                   /* the one that claims the slot gives it away */
bool tracked[2 * KEYS];         /* node and key: its next change there is told */
byte moves;
chan stream0 = [CALLERS + 4] of { mtype, byte, byte };   /* key or caller, what it says */
chan stream1 = [CALLERS + 4] of { mtype, byte, byte };

/* This process. */
byte term;                      /* that is under way; 0 if none is */
byte terms;                     /* how many there have been */
byte term_epoch;                /* of the slot's owner, when the last one began */
byte route;
byte heard;                     /* when the heartbeat was sent that was answered last */
byte l1[KEYS] = NOTHING;
byte l1_term[KEYS];
bool mark[CALLERS * KEYS];
byte answer[CALLERS];
mtype kind_of[CALLERS];
bool waiting[CALLERS];
byte floor;                     /* no call that begins now may show an earlier state */
bool says_claims[2];
bool says_leaving[3];
byte says_epoch[3];

#define SAY(n, kind, a, b) if :: n == 0 -> stream0!kind(a, b) :: n == 1 -> stream1!kind(a, b) fi

/* The node `n` executes a read. It may have been sent long before: nobody can tell. */
inline execute(n, how, k, caller) {
    if
    :: !(claims[n] || (how == asking && leaving)) -> SAY(n, moved, caller, 1 - (n))
    :: else ->
        if
        :: at[k] != n && leaving && claims[n] -> SAY(n, ask, caller, 1 - (n))
        :: else -> tracked[n * KEYS + k] = true; SAY(n, reply, caller, (at[k] == n -> state : was))
        fi
    fi
}

/* A key changes at the node that has it. */
inline tell(k) {
    if
    :: tracked[at[k] * KEYS + k] -> tracked[at[k] * KEYS + k] = false; SAY(at[k], push, k, 0)
    :: else
    fi
}

proctype Elsewhere() {
end:
    do
    :: atomic {
            state < CHANGES && at[0] == at[1] -> /* a transaction needs both of its keys */
            over[state] = now;
            state++;
            tell(0); tell(1)
        }
    od
}

/* The node gets an epoch that is later than any, unless it has the latest already. */
inline claim(n) {
    claims[n] = true;
    if
    :: epoch[n] < epoch[1 - (n)] -> epoch[n] = epoch[1 - (n)] + 1
    :: else
    fi
}

/* A key comes to a node. If it has been there before and was changed since, that is a change. */
inline come_to(to, k) {
    at[k] = to;
    if
    :: state != was -> tell(k)
    :: state != was && tracked[to * KEYS + k] && TICKS > 0 -> silent = true
    :: else
    fi
}

inline begin_move() {
    from = moves % 2; to = 1 - from;
    if
    :: moves == 0 -> was = state
    :: else
    fi
}

proctype Mover() {
    byte from, to;
end:
    do
    :: atomic { /* key by key */
            moves < MOVES ->
            begin_move();
            leaving = true;
            come_to(to, 1)
        };
        atomic { come_to(to, 0) };
        atomic {
            claim(to); claims[from] = false; leaving = false;
            from = 0; to = 0;
            moves++
        }
    :: atomic { /* at once, of which the old node hears later; then it stays: see the limits */
            moves == 0 && MOVES > 0 ->
            begin_move();
            come_to(to, 0); come_to(to, 1);
            claim(to)
        };
        atomic {
            claims[from] = false;
            from = 0; to = 0;
            moves = MOVES
        }
    od
}

proctype Clock() {
end:
    do
    :: now < TICKS -> now++
    od
}

#define HEARS(stream) \
    :: atomic { \
            stream?kind, a, b -> \
            if \
            :: kind == push -> \
                l1[a] = NOTHING; \
                mark[a] = false; mark[(CALLERS - 1) * KEYS + a] = false \
            :: else -> answer[a] = b; kind_of[a] = kind; waiting[a] = false \
            fi; \
            kind = 0; a = 0; b = 0 \
        }

/* Takes one frame after the other, of each stream. */
proctype ReadLoops() {
    byte a, b;
    mtype kind;
end:
    do
    HEARS(stream0)
    HEARS(stream1)
    od
}

/* What a node says of itself. It comes after the pushes for all that was before. */
inline report(n, stream) {
    empty(stream);
    says_claims[n] = claims[n];
    says_leaving[n] = claims[n] && leaving;
    says_epoch[n] = epoch[n]
}

inline begin_term() {
    if
    :: settled && term == 0 -> terms++; term = terms; term_epoch = says_epoch[owner]
    :: else
    fi
}

/* [13] Terms end whose slot has another owner, or is not settled. */
inline end_terms() {
    owner = NONE;
    if
    :: says_claims[0] -> owner = 0
    :: else
    fi;
    if
#if DEFECT == FIRST_CLAIM_COUNTS
    :: says_claims[1] && owner == NONE -> owner = 1
#else
    :: says_claims[1] && (owner == NONE || says_epoch[1] > says_epoch[0]) -> owner = 1
#endif
    :: else
    fi;
#if DEFECT == LEAVING_COUNTS
    settled = owner != NONE;
#else
    settled = owner != NONE && !says_leaving[owner];
#endif
    if
#if DEFECT == EPOCH_IGNORED
    :: settled && route == owner
#else
    :: settled && route == owner && term_epoch == says_epoch[owner]
#endif
    :: else -> term = 0
    fi
}

/* [14] A heartbeat asks both nodes, and acts on what they say. */
proctype Supervisor() {
    byte n, sent, owner;
    bool settled;
end:
    do
    :: n < BEATS ->
        if
#if DEFECT == ONE_ANSWER_COUNTS
        :: atomic { route != 1 && empty(stream0) -> sent = now; report(0, stream0); end_terms() }
        :: atomic { route == 1 && empty(stream1) -> sent = now; report(1, stream1); end_terms() }
#else
        :: atomic { empty(stream0) -> sent = now; report(0, stream0) };
            atomic { report(1, stream1); end_terms() }
        :: atomic { empty(stream1) -> sent = now; report(1, stream1) };
            atomic { report(0, stream0); end_terms() }
#endif
        fi;
#if DEFECT == BEGUN_BEFORE_ROUTE
        begin_term();
#endif
        route = owner; /* [13] then the route changes, and then a term begins */
        d_step {
            begin_term();
            heard = sent;
            n++; sent = 0; owner = 0; settled = false;
            says_claims[0] = false; says_leaving[0] = false; says_epoch[0] = 0;
            says_claims[1] = false; says_leaving[1] = false; says_epoch[1] = 0
        }
    od
}

inline leave() {
#if DEFECT == REDIRECT_IGNORED
    skip
#else
    term = 0
#endif
}

/* Sends a read, and waits for what the node says. */
inline ask_node(n, how) {
    atomic { waiting[me] = true; execute(n, how, key, me) };
    !waiting[me]
}

/* The end of a call, with what it has found: no older than what was seen before. */
inline finish(found) {
    assert(silent || found >= since);
    floor = (found > floor -> found : floor);
    n++;
    answer[me] = 0; kind_of[me] = 0; is_redirected = false; mark[me * KEYS + key] = false;
    key = 0; since = 0; known = 0; held = 0; held_term = 0; when = 0; node = 0
}

/* A miss. */
inline read() {
    /* [13] First the term, then the link. */
#if DEFECT != LINK_FIRST
    held_term = term;
#else
    skip;
#endif
end_waits:
    atomic { route != NONE -> node = route };
#if DEFECT == LINK_FIRST
    held_term = term;
#endif
    mark[me * KEYS + key] = (held_term != 0 && held_term == term);
    ask_node(node, get);
    do
    :: kind_of[me] == reply -> break
    :: atomic {
            kind_of[me] != reply -> /* [15] */
            leave();
            mark[me * KEYS + key] = false;
            is_redirected = true;
            node = answer[me]
        };
        if
        :: kind_of[me] == moved -> ask_node(node, get)
        :: kind_of[me] == ask -> ask_node(node, asking)
        fi
    od;
#if DEFECT == OLD_ROUTE_COUNTS
    if
    :: atomic { is_redirected -> leave() }
    :: else
    fi;
#elif DEFECT == LEFT_ONCE
    if
    :: atomic {
            !is_redirected && held_term != term && route != node -> leave();
            is_redirected = true
        }
    :: else
    fi;
#else
    /* [15] An answer of the slot's own link came in order, but is not installed in another term. */
    if
    :: atomic {
            is_redirected || (held_term != term && route != node) -> leave();
            is_redirected = true
        }
    :: atomic { !is_redirected && held_term != term && route == node -> is_redirected = true }
    :: else
    fi;
#endif
    d_step {
        if
        :: !is_redirected && mark[me * KEYS + key] ->
            l1[key] = answer[me];
#if DEFECT == ENTRY_WITHOUT_TERM
            l1_term[key] = term
#else
            l1_term[key] = held_term
#endif
        :: else
        fi;
        finish(answer[me])
    }
}

/* One get of either key. */
proctype Caller(byte me) {
    byte n, key, since, known, held, held_term, when, node;
    bool is_redirected;
end:
    do
    :: atomic {
            n < GETS - me ->
#if CALLERS == 2
            key = (me + n + 1) % 2; /* the first one reads both, the second one the known one */
#elif TICKS == 0
            if
            :: key = 0
            :: key = 1
            fi;
#endif
            since = floor;
            known = heard /* [9] before the entry */
        };
        d_step { held = l1[key]; held_term = l1_term[key]; when = now };
        if
        :: d_step {
#if DEFECT == HIT_WITHOUT_TERM
                held != NOTHING && now < known + MOST ->
#else
                held != NOTHING && held_term == term && now < known + MOST ->
#endif
                /* A hit. When it was read, it was replaced not long ago, or not at all. */
                assert(over[held] == NEVER || when < over[held] + MOST);
                finish(held)
            }
#if TICKS == 0
        :: else -> read()
#else
        :: else -> d_step { finish(floor) } /* only what is known is looked at */
#endif
        fi
    od
}

init {
    atomic {
        claims[0] = true;
        epoch[0] = 1; epoch[1] = 2;
        term = 1; terms = 1; term_epoch = 1; /* a heartbeat is over */
#if SETUP != 5
        l1[0] = 0; l1_term[0] = 1; tracked[0] = true; /* and one key was read */
#endif
        run Elsewhere(); run Mover();
        run ReadLoops(); run Supervisor(); run Caller(0);
        if
        :: CALLERS > 1 -> run Caller(1)
        :: else
        fi;
        if
        :: TICKS > 0 -> run Clock()
        :: else
        fi
    }
}
