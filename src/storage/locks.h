/*
 * locks.h
 *	  Every lock of ours that isn't a table's or a row's.
 */
#ifndef SYNCEXT_LOCKS_H
#define SYNCEXT_LOCKS_H

/*
 * What is locked.  In pg_locks each is an object of class syncext.binding: objid
 * is the key, objsubid the kind's number.  The view syncext.job_progress knows
 * the first three.
 */
typedef enum LockKind
{
	LOCK_POLL = 1,				/* a relation's OID: one job of a kind at a time */
	LOCK_DELIVER,
	LOCK_LOAD,
	LOCK_TRANSFER,				/* a relation's OID: who moves rows between it and the hub */
	LOCK_EXCHANGE,				/* a link: who exchanges over it */
	LOCK_WORKER,				/* a link: who is its background worker */
	LOCK_NOTIFIER,				/* 0: who is the hub's notifier */
	LOCK_MAINTENANCE			/* 0: who maintains the hub */
} LockKind;

typedef enum LockOutcome
{
	LOCK_TAKEN,
	LOCK_BUSY,					/* another session has it */
	LOCK_MINE					/* this session has it already */
} LockOutcome;

/* The key of something that has a name. */
extern uint32 lock_key(const char *name);

/*
 * A lock of the session's: kept over the ends of transactions until it is
 * released, a transaction fails, as the server does it, or the process ends.
 */
extern LockOutcome lock_session(LockKind kind, uint32 key, bool wait);
extern void lock_release(LockKind kind, uint32 key);
/* Has this session it, by one of the two ways? */
extern bool lock_held(LockKind kind, uint32 key);

/* A lock of the transaction's.  False: another session has it. */
extern bool lock_transaction(LockKind kind, uint32 key, bool wait);

/* Does another session hold the database, to drop, rename, move or copy it? */
extern bool lock_database_wanted(void);

#endif							/* SYNCEXT_LOCKS_H */
