/*
 * waiters.c
 *	  The sessions that wait for something to pull, told by those that commit it.
 *
 * Each process of the server has a place of its own in shared memory, where it
 * notes what it waits for; no lock is needed, as nobody else writes there.  Who
 * commits looks through the places if anybody waits at all, and sets latches: it
 * takes no lock, waits for nothing, and fails in no way.  A latch that is set needlessly,
 * as places are read while they are written, costs its owner one look.
 *
 * Nothing is missed.  Who waits writes its place, and only then takes the snapshot
 * that it looks by; who commits does so first, and then reads the places.  With a memory
 * barrier on either side one of them sees what the other has done.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "process/waiters.h"

/* Rises when these structures mean something else. */
#define WAITERS_LAYOUT	1

typedef struct Waiter
{
	pg_atomic_uint32 database;	/* InvalidOid: the process doesn't wait */
	pg_atomic_uint64 source;	/* as a hash */
	pg_atomic_uint64 entities;	/* bits of those that the source gets */
} Waiter;

typedef struct Waiters
{
	pg_atomic_uint32 waiting;	/* how many */
	int			n;				/* places */
	Waiter		of[FLEXIBLE_ARRAY_MEMBER];	/* by where the process stands among the server's */
} Waiters;

static Waiters *waiters = NULL;
static bool entered = false;

/* ---------- getting at it ---------- */

static Size
area_size(void)
{
	return add_size(offsetof(Waiters, of), mul_size(sizeof(Waiter), MaxBackends));
}

static void
init_waiters(void *place)
{
	Waiters    *w = place;

	pg_atomic_init_u32(&w->waiting, 0);
	w->n = MaxBackends;
	for (int i = 0; i < w->n; i++)
	{
		pg_atomic_init_u32(&w->of[i].database, InvalidOid);
		pg_atomic_init_u64(&w->of[i].source, 0);
		pg_atomic_init_u64(&w->of[i].entities, 0);
	}
}

static void
attached(void *place)
{
	waiters = place;
}

SharedArea	waiters_area = {
	.what = "waiters",
	.layout = WAITERS_LAYOUT,
	.unit = sizeof(Waiter),
	.size = area_size,
	.init = init_waiters,
	.attached = attached
};

/* ---------- what concerns whom ---------- */

static uint64
hash_of(const char *name)
{
	return hash_bytes_extended((const unsigned char *) name, (int) strlen(name), 0);
}

static uint64
bit_of(const char *entity)
{
	return UINT64CONST(1) << (hash_of(entity) % 64);
}

static uint64
bits_of(const Source *source)
{
	uint64		bits = 0;

	if (source->nentities < 0)
		return PG_UINT64_MAX;
	for (int i = 0; i < source->nentities; i++)
		bits |= bit_of(source->entities[i]);
	return bits;
}

void
news_add(News *news, const char *entity, const char *but_source)
{
	uint64		others_of = but_source == NULL ? 0 : hash_of(but_source);

	news->only_others_of = news->entities == 0 || news->only_others_of == others_of ? others_of : 0;
	news->entities |= bit_of(entity);
}

void
news_add_all(News *news)
{
	news->entities = PG_UINT64_MAX;
	news->only_others_of = 0;
}

static bool
is_concerned(Waiter *waiter, const News *news)
{
	if (pg_atomic_read_u32(&waiter->database) != MyDatabaseId ||
		(pg_atomic_read_u64(&waiter->entities) & news->entities) == 0)
		return false;
	return news->only_others_of == 0 || pg_atomic_read_u64(&waiter->source) != news->only_others_of;
}

/* ---------- waiting ---------- */

static void
leave_at_exit(int code, Datum arg)
{
	waiters_leave();
}

void
waiters_enter(const Source *source)
{
	static bool registered = false;
	Waiter	   *place = &waiters->of[MyProc - ProcGlobal->allProcs];

	Assert(place - waiters->of < waiters->n);
	/* whoever stood here before has left */
	Assert(entered || pg_atomic_read_u32(&place->database) == InvalidOid);
	if (!registered)
		before_shmem_exit(leave_at_exit, 0);	/* later the memory may be gone */
	registered = true;
	pg_atomic_write_u64(&place->source, hash_of(source->name));
	pg_atomic_write_u64(&place->entities, bits_of(source));
	pg_atomic_write_u32(&place->database, MyDatabaseId);
	if (!entered)
		(void) pg_atomic_fetch_add_u32(&waiters->waiting, 1);
	entered = true;
	pg_memory_barrier();
}

void
waiters_leave(void)
{
	if (!entered)
		return;
	entered = false;
	pg_atomic_write_u32(&waiters->of[MyProc - ProcGlobal->allProcs].database, InvalidOid);
	(void) pg_atomic_fetch_sub_u32(&waiters->waiting, 1);
}

void
waiters_tell(const News *news)
{
	if (news->entities == 0 || waiters == NULL)
		return;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&waiters->waiting) == 0)
		return;
	for (int i = 0; i < waiters->n; i++)
	{
		if (is_concerned(&waiters->of[i], news))
			SetLatch(&GetPGProcByNumber(i)->procLatch);
	}
}
