/* The near cache's bounds in time, docs/near.md: one key, its server, and a reader in this process.
 *
 * Time goes on in ticks, at any moment. Messages take any time, and keep their order. The primary
 * may be made a replica; then the key is changed elsewhere, and nobody tells this process. The
 * numbers in brackets are the rules of docs/near.md. DEFECT chooses a rule that is broken: see
 * ci/model.sh.
 */

#ifndef TICKS
#define TICKS 4       /* then time stands still */
#endif
#define MOST 2        /* the bound on the age, `max_staleness` */
#define FREE 1        /* [9] how long before its end a hit asks the exact clock */
#ifndef CHANGES
#define CHANGES 1
#endif
#define NEVER 255
#define NOTHING 255

/* Defects. */
#define HEARD_WHEN_ANSWERED 1   /* the time of the answer counts, not that of the heartbeat */
#define ROUGH_ALONE 2           /* the rough clock is asked until the end */
#define CLOCK_FIRST 3           /* the clock is read before the entry */
#define ANY_REPLY_COUNTS 4      /* a reply to a read counts as a heartbeat */
#define REPLICA_COUNTS 5        /* so does the answer of a server that is no primary any more */
#define ENDS_FROM_REPLY 6       /* what is left of the deadline counts from the reply on */
#define ENDS_IGNORED 7          /* the deadline is left to the server, which deletes late */
#define HEARD_LATER 8           /* what was heard is asked for after the entry was read */
#ifndef DEFECT
#define DEFECT 0
#endif

mtype = { push, reply, alive };

byte now;

/* The primary, wherever it is. */
byte value;                     /* the number of the change that set it */
byte ends[CHANGES + 1] = NEVER; /* the deadline of each value */
byte over[CHANGES + 1] = NEVER; /* when each value was replaced */
/* The server to which this process has its connection. */
bool demoted;
byte old;                       /* what it goes on to hold then */
bool tracked;
chan requests = [2] of { mtype, byte };              /* and when it was sent */
chan stream = [4] of { mtype, byte, byte, byte };    /* [1] one stream; what it says, below */

/* This process. */
byte l1 = NOTHING;
byte l1_ends;
byte heard;                     /* when that heartbeat was sent which was answered last */
bool mark;
bool beats;                     /* a heartbeat is under way */
bool asks;                      /* so is a read */
bool broken;

active proctype Clock() {
    do
    :: now < TICKS -> now++
    :: now == TICKS -> break
    od
}

active proctype Elsewhere() {
    do
    :: value < CHANGES ->
        atomic {
            over[value] = now;
            value++;
            if
            :: ends[value] = now + 1
            :: ends[value] = now + 2
            :: true /* it has no deadline */
            fi;
            if
            :: !demoted && tracked -> tracked = false; stream!push(0, 0, 0)
            :: else
            fi
        }
    :: value == CHANGES -> break
    od
}

active proctype Demotion() {
    if
    :: atomic { demoted = true; old = value }
    :: true
    fi
}

/* The value that it answers with, and what is left of its deadline. */
active proctype Server() {
    byte sent, is;
    mtype kind;
end:
    do
    :: atomic {
            requests?kind, sent ->
            if
            :: kind == alive -> stream!alive(sent, !demoted, 0)
            :: kind == reply ->
                is = (demoted -> old : value);
                tracked = true;
                if
                :: ends[is] > now -> /* [8] read in the same packet */
                    stream!reply(sent, is, (ends[is] == NEVER -> NEVER : ends[is] - now))
                :: else -> stream!reply(sent, NOTHING, 0)
                fi
            fi;
            kind = 0; sent = 0; is = 0
        }
    od
}

/* [9] A heartbeat, at any time. */
active proctype Heart() {
    do
    :: atomic { now < TICKS && !beats -> beats = true; requests!alive(now) }
    :: now == TICKS -> break
    od
}

active proctype ReadLoop() {
    byte sent, is, left;
    mtype kind;
end:
    do
    :: atomic {
            stream?kind, sent, is, left ->
            if
            :: kind == push -> l1 = NOTHING; mark = false
            :: kind == alive ->
                beats = false;
#if DEFECT == HEARD_WHEN_ANSWERED
                sent = now;
#endif
                if
#if DEFECT != REPLICA_COUNTS
                :: is == 0 -> broken = true /* [10] it says that it is no primary */
#endif
                :: else -> heard = sent
                fi
            :: kind == reply ->
#if DEFECT == ANY_REPLY_COUNTS
                heard = sent;
#endif
#if DEFECT == ENDS_FROM_REPLY
                sent = now;
#endif
                if
                :: mark && is != NOTHING ->
                    l1 = is;
                    l1_ends = (left == NEVER -> NEVER : sent + left) /* [8] */
                :: else
                fi;
                mark = false; asks = false
            fi;
            kind = 0; sent = 0; is = 0; left = 0
        }
    od
}

/* The rough clock may be a tick behind. */
inline read_clock() {
    atomic {
        if
        :: clock = now
        :: now > 0 -> clock = now - 1
        fi;
#if DEFECT != ROUGH_ALONE
        if
        :: known + MOST > clock + FREE && until > clock + FREE
        :: else -> clock = now /* [9] the exact one */
        fi
#endif
    }
}

/* One hit, if the L1 has the key; else one read of the server. */
inline look_up() {
    if
    :: atomic {
            l1 == NOTHING && !broken && !asks ->
            asks = true; mark = true; requests!reply(now)
        }
    :: l1 != NOTHING ->
#if DEFECT == CLOCK_FIRST
        read_clock();
#endif
        known = heard; /* [9] before the entry */
        d_step { held = l1; until = l1_ends; at = now };
#if DEFECT == HEARD_LATER
        known = heard;
#endif
#if DEFECT != CLOCK_FIRST
        read_clock(); /* [9] after the entry */
#endif
        d_step {
            if
#if DEFECT == ENDS_IGNORED
            :: held != NOTHING && !broken && clock < known + MOST ->
#else
            :: held != NOTHING && !broken && clock < known + MOST && clock < until ->
#endif
                /* A hit. When it was read, it was replaced not long ago, or not at all. */
                assert(over[held] == NEVER || at < over[held] + MOST);
                assert(at < ends[held])
            :: else
            fi;
            held = 0; known = 0; until = 0; at = 0; clock = 0
        }
    fi
}

active proctype Reader() {
    byte held, known, until, at, clock;
    do
    :: look_up()
    :: now == TICKS -> break
    od
}
