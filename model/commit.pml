/* The commit protocol of docs/protocol.md: three threads, three keys.
 *
 * Each thread runs one operation: a batch, a transaction, or a look-up of all keys as of one
 * number. SPIN explores every order of the steps; memory is sequentially consistent. A step here is
 * one access to what threads share. The labels are the names of the steps in docs/protocol.md.
 *
 * SETUP chooses what the threads do, DEFECT a rule that is broken: see ci/model.sh.
 */

#define THREADS 3
#define KEYS 3

/* What the threads do: which keys each writes, and which it reads; a bit for each key. A thread
 * that writes nothing looks keys up. */
#if SETUP == 1 /* three batches that cross */
#define WRITES(c) (c == 0 -> 3 : (c == 1 -> 6 : 5))
#define READS(c) 0
#elif SETUP == 2 /* write skew, and an onlooker */
#define WRITES(c) (c == 0 -> 2 : (c == 1 -> 1 : 0))
#define READS(c) (c == 0 -> 1 : (c == 1 -> 2 : 3))
#elif SETUP == 3 /* a ring of transactions: each reads what the next one writes */
#define WRITES(c) (c == 0 -> 1 : (c == 1 -> 2 : 4))
#define READS(c) (c == 0 -> 2 : (c == 1 -> 4 : 1))
#elif SETUP == 4 /* two batches of the same keys, and one of one of these */
#define WRITES(c) (c == 2 -> 2 : 3)
#define READS(c) 0
#else /* a batch of all keys, a transaction, and an onlooker */
#define WRITES(c) (c == 0 -> 7 : (c == 1 -> 4 : 0))
#define READS(c) (c == 0 -> 0 : (c == 1 -> 1 : 7))
#endif

#define HAS(set, k) (((set) >> (k)) & 1)
#define IS_WRITTEN(c, k) HAS(WRITES(c), k)
#define IS_READ(c, k) HAS(READS(c), k)

/* A node, or version: there is one for each commit and each of its keys. Of a key that a commit
 * reads and does not write, it is a witness. No node: the key as it was at first, number 0. */
#define NODE(c, k) (1 + (c) * KEYS + (k))
#define OWNER(n) (((n) - 1) / KEYS)
#define KEY(n) (((n) - 1) % KEYS)
#define NO_NODE 0
#define NODES (THREADS * KEYS + 1)
#define UNKNOWN NODES /* what a node supersedes, before it is known */

mtype = { installing, ready, committed, aborted };

byte head[KEYS];        /* a node */
byte prev[NODES] = UNKNOWN; /* the node that it supersedes */
mtype state[THREADS];   /* the descriptor's state, with the number in the same word */
byte number[THREADS];
byte clock;

byte view[THREADS];     /* the number as of which a thread reads */
byte seen[NODES];       /* by reader and key: the node that it found */

/* Defects. */
#define READY_EARLY 1     /* ready is set when the first node is installed */
#define PASS_BY_READY 2   /* a reader takes a ready commit for one that is being installed */
#define NO_WITNESS 3      /* the verdict looks at the heads of what was read */
#define PREV_IGNORED 4    /* install goes on although prev could not be set */
#define CHECK_FIRST 5     /* whether the commit is undecided is asked before the head is loaded */
#define STAMPED_FIRST 6   /* the number is taken before the nodes are installed */
#define UNSORTED 7        /* the second commit installs in the opposite order */
#ifndef DEFECT
#define DEFECT 0
#endif

/* The keys on which a commit installs a node, and the order in which it does so. */
#if DEFECT == NO_WITNESS
#define HAS_NODE(c, k) IS_WRITTEN(c, k)
#else
#define HAS_NODE(c, k) (IS_WRITTEN(c, k) || IS_READ(c, k))
#endif
#if DEFECT == UNSORTED
#define IN_ORDER(c, i) (c == 1 -> KEYS - 1 - (i) : (i))
#else
#define IN_ORDER(c, i) (i)
#endif

#define NUMBER_OF(n) ((n) == NO_NODE -> 0 : number[OWNER(n)])

/* Decides a ready commit: the owner does this, helpers, readers and later writers. */
inline stamp(e) {
    if
    :: state[e] == ready ->
#if DEFECT == STAMPED_FIRST
        mine = number[e];
#else
tick:   atomic { clock++; mine = clock }
#endif
        /* What the verdict reads does not change any more, so it is one step. */
verdict: d_step {
            is_met = true;
            i = 0;
            do
            :: i < KEYS && IS_READ(e, i) ->
#if DEFECT == NO_WITNESS
                is_met = is_met && (OWNER(head[i]) == e || NUMBER_OF(head[i]) <= view[e]);
#else
                is_met = is_met && NUMBER_OF(prev[NODE(e, i)]) <= view[e];
#endif
                i++
            :: i < KEYS && !IS_READ(e, i) -> i++
            :: i == KEYS -> break
            od;
            i = 0
        }
decide: d_step {
            if
            :: state[e] == ready && is_met -> state[e] = committed; number[e] = mine
            :: state[e] == ready && !is_met -> state[e] = aborted
            :: else
            fi;
            is_met = false; mine = 0
        }
    :: else
    fi
}

/* What key `k` held as of number `at`. */
inline read(k, limit) {
    n = head[k];
    do
    :: n == NO_NODE -> break
    :: n != NO_NODE ->
        /* A ready commit gets its number before the reader judges it. */
#if DEFECT != PASS_BY_READY
        if
        :: state[OWNER(n)] == ready -> stamp(OWNER(n))
        :: else
        fi;
#endif
        if
        :: state[OWNER(n)] == committed && number[OWNER(n)] <= limit &&
            IS_WRITTEN(OWNER(n), KEY(n)) -> break
        :: else -> n = prev[n]
        fi
    od;
    seen[NODE(me, k)] = n;
    n = NO_NODE
}

/* Installs the nodes of commit `d`, which is the thread's own or one that blocks it. */
inline install() {
    i = 0;
    do
    :: i == KEYS -> break
    :: i < KEYS && !HAS_NODE(d, IN_ORDER(d, i)) -> i++
    :: i < KEYS && HAS_NODE(d, IN_ORDER(d, i)) ->
        k = IN_ORDER(d, i);
#if DEFECT == CHECK_FIRST
        if
        :: state[d] != installing -> break
        :: else
        fi;
#endif
load_prev:  link = prev[NODE(d, k)];
load_head:  top = head[k];
#if DEFECT != CHECK_FIRST
check:  if
        :: state[d] != installing -> break
        :: else
        fi;
#endif
        if
        :: top == NODE(d, k) -> i++; goto next
        :: top == NO_NODE -> below = NO_NODE
        :: top != NODE(d, k) && top != NO_NODE ->
judge:      if
            :: state[OWNER(top)] == installing ->
                /* Another commit is in the way: help it first. */
                d = OWNER(top); i = 0;
#if DEFECT == UNSORTED
                helps++; assert(helps < 8);
#endif
                goto next
            :: state[OWNER(top)] == ready -> blocker = OWNER(top); goto help
            :: state[OWNER(top)] == committed && IS_WRITTEN(OWNER(top), k) -> below = top
            :: else -> below = prev[top]
            fi
        fi;
        if
        :: link != below ->
set_prev:   atomic {
                if
                :: prev[NODE(d, k)] == link -> prev[NODE(d, k)] = below
                :: else ->
#if DEFECT != PREV_IGNORED
                    goto next
#else
                    skip
#endif
                fi
            }
        :: else
        fi;
set_head: atomic {
            if
            :: head[k] == top -> head[k] = NODE(d, k); i++
            :: else
            fi
        };
#if DEFECT == READY_EARLY
        break;
#endif
        goto next;
help:   link = i; stamp(blocker); i = link;
next:   atomic { k = 0; link = 0; top = 0; below = 0; blocker = 0 }
    od
}

proctype Thread(byte me) {
    byte d, i, k, link, top, below, n, mine, blocker;
    bool is_met;
#if DEFECT == UNSORTED
    byte helps;
#endif

open_view:
    view[me] = clock;
    k = 0;
    do
    :: k < KEYS && IS_READ(me, k) -> read(k, view[me]); k++
    :: k < KEYS && !IS_READ(me, k) -> k++
    :: k == KEYS -> k = 0; break
    od;

    if
    :: WRITES(me) != 0 ->
#if DEFECT == STAMPED_FIRST
        atomic { clock++; number[me] = clock };
#endif
        do
        :: state[me] == installing || state[me] == ready ->
            d = me;
            install();
set_ready:  atomic { if :: state[d] == installing -> state[d] = ready :: else fi };
            stamp(d)
        :: else -> break
        od
    :: else
    fi;
    atomic { d = 0; i = 0; k = 0; link = 0; top = 0; below = 0; n = 0; blocker = 0 }
}

/* The newest version of `k` as of `at`, by the numbers alone. */
inline as_of(k, limit) {
    newest = NO_NODE;
    c = 0;
    do
    :: c < THREADS ->
        if
        :: state[c] == committed && IS_WRITTEN(c, k) && number[c] <= limit &&
            number[c] > NUMBER_OF(newest) -> newest = NODE(c, k)
        :: else
        fi;
        c++
    :: c == THREADS -> break
    od
}

init {
    byte c, k, me, newest, n, written;

    atomic {
        state[0] = installing; state[1] = installing; state[2] = installing;
        run Thread(0); run Thread(1); run Thread(2)
    }
    _nr_pr == 1;

    d_step {
        /* Invariant 6: each thread saw the state at its number. A commit that was aborted has no
         * effect, so what it saw counts as well. */
        me = 0;
        do
        :: me < THREADS ->
            k = 0;
            do
            :: k < KEYS ->
                if
                :: IS_READ(me, k) -> as_of(k, view[me]); assert(seen[NODE(me, k)] == newest)
                :: else
                fi;
                k++
            :: k == KEYS -> break
            od;
            me++
        :: me == THREADS -> break
        od;

        /* A transaction took effect at its number: nothing that it read was written in between. */
        me = 0;
        do
        :: me < THREADS && WRITES(me) != 0 && state[me] == committed ->
            k = 0;
            do
            :: k < KEYS ->
                if
                :: IS_READ(me, k) ->
                    as_of(k, number[me] - 1); assert(NUMBER_OF(newest) <= view[me])
                :: else
                fi;
                k++
            :: k == KEYS -> break
            od;
            me++
        :: me < THREADS && !(WRITES(me) != 0 && state[me] == committed) -> me++
        :: me == THREADS -> break
        od;

        /* Every commit is decided. A batch, which requires nothing, is not aborted. */
        me = 0;
        do
        :: me < THREADS ->
            assert(WRITES(me) == 0 || state[me] == committed ||
                (state[me] == aborted && READS(me) != 0));
            me++
        :: me == THREADS -> break
        od;

        /* Invariants 2 and 3: a chain holds each committed version, newest first. */
        k = 0;
        do
        :: k < KEYS ->
            written = 0;
            n = head[k];
            me = 255; /* the number above */
            do
            :: n != NO_NODE && state[OWNER(n)] == committed && IS_WRITTEN(OWNER(n), k) ->
                assert(number[OWNER(n)] < me);
                me = number[OWNER(n)];
                written = written | (1 << OWNER(n));
                n = prev[n]
            :: n != NO_NODE && !(state[OWNER(n)] == committed && IS_WRITTEN(OWNER(n), k)) ->
                n = prev[n]
            :: n == NO_NODE -> break
            od;
            c = 0;
            do
            :: c < THREADS ->
                assert(!(state[c] == committed && IS_WRITTEN(c, k)) || HAS(written, c));
                c++
            :: c == THREADS -> break
            od;
            k++
        :: k == KEYS -> break
        od
    }
}
