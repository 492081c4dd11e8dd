/* The near cache's terms in a cluster, docs/near.md: one slot that moves between two nodes, two keys
 * in it that each change writes together, and callers in this process.
 *
 * A slot moves key by key, and a node says ASK for keys that have left; or another node takes it
 * over, and the old one answers from what it had until it hears of that. A key may leave without a
 * push, as those do that are known as absent. Each node has a stream of its own; messages take any
 * time, and between two streams there is no order. Time goes on in ticks, at any moment. The numbers
 * in brackets are the rules of docs/near.md. DEFECT chooses a rule that is broken: see ci/model.sh.
 */

#define KEYS 2
#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef CHANGES
#define CHANGES 1     /* by a client elsewhere */
#endif
#ifndef MOVES
#define MOVES 2       /* away and back */
#endif
#ifndef GETS
#define GETS 2        /* of each caller */
#endif
#ifndef TICKS
#define TICKS 3       /* then time stands still */
#endif
#define MOST 2        /* the bound on the age, `max_staleness` */
#define NEVER 255
#define NOTHING 255
#define NONE 2        /* no node */

/* Defects. */
#define REDIRECT_IGNORED 1   /* a slot's term goes on although another node has answered for it */
#define BEGUN_BY_REDIRECT 2  /* a term begins, with its route, where a redirect has led */
#define EPOCH_IGNORED 3      /* a term goes on if its slot has left and come back in between */
#define LEAVING_COUNTS 4     /* a slot that its owner gives away is settled */
#define FIRST_CLAIM_COUNTS 5 /* of two nodes that claim the slot, not the later epoch has it */
#define ONE_ANSWER_COUNTS 6  /* a heartbeat is over when the slot's node has answered */
#define LINK_FIRST 7         /* a reader takes the link first, and then the term */
#define BEGUN_BEFORE_ROUTE 8 /* a term begins before its route is there */
#define ENTRY_WITHOUT_TERM 9 /* what is read belongs to the term under way when it is installed */
#define LEFT_ONCE 10         /* the term ends at the redirect, and not again at the answer */
#define HIT_WITHOUT_TERM 11  /* a hit does not ask whether its term is under way */
#ifndef DEFECT
#define DEFECT 0
#endif

mtype = { get, asking, beat, push, reply, moved, ask, alive };

byte now;

/* The nodes. */
byte state;                     /* of the slot: the number of its changes */
byte over[CHANGES + 1] = NEVER; /* when each was replaced */
byte at[KEYS];                  /* the node that has the key */
byte old;                       /* what a node goes on to answer that has lost the slot unawares */
bool claims[2];
byte epoch[2];
bool leaving;                   /* the one that claims the slot gives it away */
bool tracked[2 * KEYS];         /* node and key: its next change there is told */
byte moves;
chan requests0 = [CALLERS + 1] of { mtype, byte, byte };       /* caller, key */
chan requests1 = [CALLERS + 1] of { mtype, byte, byte };
chan stream0 = [CALLERS + 4] of { mtype, byte, byte, byte };   /* key or caller, what it says */
chan stream1 = [CALLERS + 4] of { mtype, byte, byte, byte };

/* This process. */
byte term;                      /* that is under way; 0 if none is */
byte terms;                     /* how many there have been */
byte route;
byte heard;                     /* when the heartbeat was sent that was answered last */
byte l1[KEYS] = NOTHING;
byte l1_term[KEYS];
bool mark[CALLERS * KEYS];
byte answer[CALLERS];
mtype kind_of[CALLERS];
bool waiting[CALLERS];
byte floor;                     /* no call that begins now may show an earlier state */
bool reported[2];
bool says_claims[2];
bool says_leaving[2];
byte says_epoch[2];

#define SEND(n, kind, a, b) if :: n == 0 -> requests0!kind(a, b) :: n == 1 -> requests1!kind(a, b) fi
#define SAY(n, kind, a, b, c) if :: n == 0 -> stream0!kind(a, b, c) :: n == 1 -> stream1!kind(a, b, c) fi
#define MINE(n, k) (at[k] == n)

/* The node `n` tells who has read the key, if it does. */
inline tell(n, k) {
    if
    :: tracked[n * KEYS + k] -> tracked[n * KEYS + k] = false; SAY(n, push, k, 0, 0)
    :: else
    fi
}

/* Answers as the one that claims the slot, or as one that is asked all the same. */
inline answer_for(n, k, caller) {
    if
    :: MINE(n, k) -> tracked[n * KEYS + k] = true; SAY(n, reply, caller, state, 0)
    :: !MINE(n, k) && claims[n] && leaving -> SAY(n, ask, caller, 1 - n, 0)
    :: else -> tracked[n * KEYS + k] = true; SAY(n, reply, caller, old, 0) /* it does not know */
    fi
}

#define SERVES(n, requests) \
    :: atomic { \
            requests?kind, caller, key -> \
            if \
            :: kind == beat -> SAY(n, alive, claims[n], leaving && claims[n], epoch[n]) \
            :: kind == get && claims[n] -> answer_for(n, key, caller) \
            :: kind == asking && (claims[n] || leaving) -> answer_for(n, key, caller) \
            :: else -> SAY(n, moved, caller, 1 - n, 0) \
            fi; \
            kind = 0; caller = 0; key = 0 \
        }

active proctype Nodes() {
    byte caller, key;
    mtype kind;
end:
    do
    SERVES(0, requests0)
    SERVES(1, requests1)
    od
}

active proctype Elsewhere() {
    byte n;
    do
    :: atomic {
            n < CHANGES && at[0] == at[1] -> /* a transaction needs both of its keys */
            over[state] = now;
            state++; n++;
            tell(at[0], 0);
            tell(at[0], 1)
        }
    :: n == CHANGES -> break
    od
}

/* The node gets an epoch that is later than any, unless it has the latest already. */
inline claim(n) {
    claims[n] = true;
    if
    :: epoch[n] < epoch[1 - n] -> epoch[n] = epoch[1 - n] + 1
    :: else
    fi
}

/* A key leaves the node, with a push or without one. */
inline leave_node(n, k) {
    if
    :: tell(n, k)
    :: tracked[n * KEYS + k] = false
    fi;
    at[k] = 1 - n
}

active proctype Mover() {
    byte from;
    do
    :: moves < MOVES ->
        from = moves % 2;
        if
        :: leaving = true; /* key by key */
            atomic { leave_node(from, 0) };
            atomic { leave_node(from, 1) };
            atomic { claim(1 - from); claims[from] = false; leaving = false; moves++ }
        :: atomic { /* at once, of which the old node hears later */
                old = state;
                claim(1 - from);
                at[0] = 1 - from; at[1] = 1 - from
            };
            atomic {
                claims[from] = false;
                tracked[from * KEYS] = false; tracked[from * KEYS + 1] = false;
                old = 0;
                moves++
            }
        fi
    :: moves == MOVES -> break
    od
}

active proctype Clock() {
    do
    :: now < TICKS -> now++
    :: now == TICKS -> break
    od
}

#define HEARS(n, stream) \
    :: atomic { \
            stream?kind, a, b, c -> \
            if \
            :: kind == push -> l1[a] = NOTHING; mark[a] = false; mark[(CALLERS - 1) * KEYS + a] = false \
            :: kind == alive -> says_claims[n] = a; says_leaving[n] = b; says_epoch[n] = c; reported[n] = true \
            :: else -> answer[a] = b; kind_of[a] = kind; waiting[a] = false \
            fi; \
            kind = 0; a = 0; b = 0; c = 0 \
        }

active proctype ReadLoops() {
    byte a, b, c;
    mtype kind;
end:
    do
    HEARS(0, stream0)
    HEARS(1, stream1)
    od
}
