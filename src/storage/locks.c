/*
 * locks.c
 *	  Every lock of ours that isn't a table's or a row's.
 *
 * Advisory locks any session could take, and one pg_advisory_unlock_all() in a
 * trigger would release them.  The locks of the server's own method
 * are safe from that; but those of a session that ends outside of a transaction
 * the server leaves behind in shared memory, for another process to inherit.  So
 * this is the only file that takes locks, and it releases the session's when the
 * process ends; test/lint sees to it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"

#include "compat.h"
#include "storage/locks.h"
#include "storage/relations.h"

/* More than a session has at a time. */
#define MAX_HELD	16

/* The session's locks; one may be gone with a transaction that failed. */
static LOCKTAG held[MAX_HELD];
static int	nheld = 0;

static bool
is_held(const LOCKTAG *tag)
{
	return LockHeldByMe_compat(tag, ExclusiveLock);
}

/*
 * Called before the server's own end of the process, which would find the locks
 * in a transaction that goes on: that one has to end first.
 */
static void
release_at_exit(int code, Datum arg)
{
	AbortOutOfAnyTransaction();
	while (nheld > 0)
	{
		const LOCKTAG *tag = &held[--nheld];

		if (is_held(tag))
			(void) LockRelease(tag, ExclusiveLock, true);
	}
}

/* Make room for one more, before it is taken: afterwards nothing may fail. */
static void
make_room(void)
{
	static bool registered = false;
	int			kept = 0;

	if (!registered)
		before_shmem_exit(release_at_exit, (Datum) 0);
	registered = true;
	for (int i = 0; i < nheld; i++)
		if (is_held(&held[i]))
			held[kept++] = held[i];
	nheld = kept;
	if (nheld == MAX_HELD)
		elog(ERROR, "too many locks are held");
}

static void
set_tag(LOCKTAG *tag, LockKind kind, uint32 key)
{
	/* no object of the server's has a class of this OID */
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, registry_relation("binding"), key, kind);
}

uint32
lock_key(const char *name)
{
	return DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
}

bool
lock_held(LockKind kind, uint32 key)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, key);
	return is_held(&tag);
}

LockOutcome
lock_session(LockKind kind, uint32 key, bool wait)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, key);
	if (is_held(&tag))
		return LOCK_MINE;
	make_room();
	if (LockAcquire(&tag, ExclusiveLock, true, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return LOCK_BUSY;
	held[nheld++] = tag;
	return LOCK_TAKEN;
}

void
lock_release(LockKind kind, uint32 key)
{
	/* there may be no transaction to look the class up in */
	for (int i = 0; i < nheld; i++)
		if (held[i].locktag_field3 == key && held[i].locktag_field4 == kind && is_held(&held[i]))
			(void) LockRelease(&held[i], ExclusiveLock, true);
}

bool
lock_transaction(LockKind kind, uint32 key, bool wait)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, key);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
lock_transaction_shared(LockKind kind, uint32 key)
{
	LOCKTAG		tag;

	set_tag(&tag, kind, key);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

bool
lock_database_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, false);
	return false;
}
