/* How records end, "Removing a record" in docs/protocol.md: two writers, a reader, three keys.
 *
 * A commit is one step here (commit.pml has its steps). Keys take turns at being present. A reader
 * that reads as of a number under its guard must find each key that was present at that number.
 * DEFECT chooses a rule that is broken: see ci/model.sh.
 */

#define KEYS 3
#define RECORDS 6
#define NUMBERS 6
#define NO_RECORD 0

/* Defects. */
#define NO_GRACE 1      /* a record is sealed without waiting for a grace period */
#define NO_REVIVE 2     /* a writer that locates a record leaves the mark on */
#define SEALED_BLINDLY 3 /* the seal does not fail if a writer came */
#define FREED_EARLY 4   /* memory is freed without waiting for the second grace period */
#ifndef DEFECT
#define DEFECT 0
#endif

mtype = { absent, present, condemned, sealed };

byte slot[KEYS];                /* the index: from a key to its record */
mtype head[RECORDS] = absent;
byte key[RECORDS];
bool condemning[RECORDS];       /* one cycle at a time */
bool unlinked[RECORDS];
bool freed[RECORDS];
byte awaited[RECORDS];          /* the guards for which a record still waits: a bit for each */
byte guards;                    /* the guards that are live */
byte records;
byte clock;
byte held[NUMBERS * KEYS];      /* by number: the record of each key that was present */

inline pin() {
    guards = guards | (1 << me)
}

inline unpin() {
    atomic {
        guards = guards & ~(1 << me);
        r = 1;
        do
        :: r < RECORDS -> awaited[r] = awaited[r] & ~(1 << me); r++
        :: r == RECORDS -> r = NO_RECORD; break
        od
    }
}

/* Finds the living record of a key for a writer, or makes one. */
inline locate(k, r) {
    do
    :: r = slot[k];
        if
        :: r == NO_RECORD ->
            atomic {
                if
                :: slot[k] == NO_RECORD ->
                    records++; assert(records < RECORDS);
                    key[records] = k; slot[k] = records; r = records;
                    break
                :: else
                fi
            }
        :: r != NO_RECORD ->
            assert(!freed[r]);
            atomic {
                if
                :: head[r] == sealed ->
                    /* It is dead. Whoever meets it may unlink it. */
                    if
                    :: slot[k] == r -> slot[k] = NO_RECORD
                    :: else
                    fi
                :: head[r] == condemned ->
#if DEFECT != NO_REVIVE
                    head[r] = absent; /* revive: takes the mark off */
#endif
                    break
                :: else -> break
                fi
            }
        fi
    od
}

inline note() {
    clock++;
    j = 0;
    do
    :: j < KEYS ->
        held[clock * KEYS + j] =
            (slot[j] != NO_RECORD && head[slot[j]] == present -> slot[j] : NO_RECORD);
        j++
    :: j == KEYS -> j = 0; break
    od
}

/* One commit that sets one key and removes another one; then the steps 1 and 2. Or it evicts the
 * other one: then the commit takes the step 1 as well.
 */
inline move(from, to) {
    pin();
    locate(to, set);
    locate(from, gone);
commit:
    atomic {
        assert(head[set] != sealed && head[gone] != sealed);
        head[set] = present;
        if
        :: head[gone] = absent
        :: head[gone] == present && !condemning[gone] ->
            head[gone] = condemned; condemning[gone] = true;
#if DEFECT != NO_GRACE
            awaited[gone] = guards
#endif
        fi;
        note()
    };
condemn:
    atomic {
        if
        :: head[gone] == absent && !condemning[gone] ->
            head[gone] = condemned; condemning[gone] = true;
#if DEFECT != NO_GRACE
            awaited[gone] = guards
#endif
        :: else
        fi
    };
    set = NO_RECORD; gone = NO_RECORD;
    unpin()
}

proctype Writer(byte me; byte one; byte other) {
    byte set, gone, r, j;
    move(one, other);
    if
    :: me == 0 -> move(other, one)
    :: else
    fi
}

/* Reads all keys as of one number, under one guard. */
proctype Reader(byte me) {
    byte k, r, at;
    pin();
    at = clock;
    do
    :: k < KEYS ->
        atomic {
            r = slot[k];
            assert(held[at * KEYS + k] == NO_RECORD || held[at * KEYS + k] == r)
        };
        if
        :: r != NO_RECORD -> assert(!freed[r])
        :: else
        fi;
        k++
    :: k == KEYS -> break
    od;
    unpin()
}

/* What reclamation runs for a record when its grace periods are over. */
proctype End(byte r) {
end:
    do
    :: atomic {
            condemning[r] && !(head[r] == sealed) && awaited[r] == 0 ->
            /* 3. Seal, unless a writer came. */
            if
#if DEFECT == SEALED_BLINDLY
            :: true -> head[r] = sealed
#else
            :: head[r] == condemned -> head[r] = sealed
            :: head[r] != condemned -> condemning[r] = false
#endif
            fi
        }
    :: atomic {
            head[r] == sealed && !unlinked[r] ->
            /* 4. Clear the fingerprint; 5. wait again. */
            if
            :: slot[key[r]] == r -> slot[key[r]] = NO_RECORD
            :: else
            fi;
            unlinked[r] = true;
#if DEFECT != FREED_EARLY
            awaited[r] = guards
#endif
        }
    :: atomic {
            unlinked[r] && !freed[r] && awaited[r] == 0 ->
            freed[r] = true /* 6. */
        }
    od
}

init {
    byte j;
    atomic {
        records = 2; slot[0] = 1; slot[2] = 2; key[1] = 0; key[2] = 2;
        head[1] = present; head[2] = present;
        note();
        run End(1); run End(2); run End(3); run End(4); run End(5);
        run Writer(0, 0, 1); run Writer(1, 2, 1); run Reader(2)
    }
}
