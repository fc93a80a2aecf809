/*
 * locks.h
 *	  Every lock of ours that isn't a table's or a row's.
 */
#ifndef SYNCEXT_LOCKS_H
#define SYNCEXT_LOCKS_H

/*
 * What is locked.  In pg_locks each is an object of class syncext.binding: objid
 * is the key, objsubid the kind's number.  The view syncext.job_progress knows
 * the first three; test/lint compares.
 *
 * src/README.md has the order in which a session takes several.  Those of jobs, workers,
 * the notifier, maintenance and a rematch are never waited for, so they are in no
 * deadlock; the server finds a deadlock of the others.
 */
typedef enum LockKind
{
	/* key: a relation's OID.  The session's, for one run of a job at a time */
	LOCK_POLL = 1,
	LOCK_DELIVER,
	LOCK_LOAD,
	/* key: a relation's OID.  The transaction's, for moving rows between it and the hub */
	LOCK_TRANSFER,
	/*
	 * key: lock_key() of a link.  The session's for an exchange over it, the
	 * transaction's for changing the link
	 */
	LOCK_EXCHANGE,
	/* key: lock_key() of a link.  The session's, of its background worker */
	LOCK_WORKER,
	/* key: 0.  The session's, of the hub's notifier */
	LOCK_NOTIFIER,
	/* key: 0.  The session's, for sync_maintain */
	LOCK_MAINTENANCE,
	/* key: lock_key() of an entity.  The session's, for one sync_rematch of it at a time */
	LOCK_REMATCH,
	/*
	 * key: lock_key() of a source.  The transaction's: shared by those that go by keys of
	 * the source's own, alone for what gives some of them to other records
	 */
	LOCK_KEYS
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
/* Does this session hold the lock, of its own or of its transaction's? */
extern bool lock_held(LockKind kind, uint32 key);

/* A lock of the transaction's.  False: another session has it. */
extern bool lock_transaction(LockKind kind, uint32 key, bool wait);
/* The same, shared with others that take it shared; waits. */
extern void lock_transaction_shared(LockKind kind, uint32 key);

/* Does another session hold the database, to drop, rename, move or copy it? */
extern bool lock_database_wanted(void);

#endif							/* SYNCEXT_LOCKS_H */
