/*
 * shared_area.c
 *	  Structures of ours in the memory that all sessions share, where there is some.
 *
 * The server's, where it has loaded the library when it started; else, since PostgreSQL
 * 17, a segment of its registry.  A structure's name says how it is laid out: after an
 * upgrade of the library sessions that have the old one go on with the old segment.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "compat.h"
#include "process/shared_area.h"
#include "process/subxact.h"

static SharedArea *requested = NULL;
static shmem_request_hook_type next_request_hook = NULL;
static shmem_startup_hook_type next_startup_hook = NULL;

/* ---------- with the server ---------- */

static void
request_areas(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	for (SharedArea *area = requested; area != NULL; area = area->next)
		RequestAddinShmemSpace(area->size());
}

/* One of another layout, or size, is another area. */
static const char *
name_of(const SharedArea *area)
{
	static char name[NAMEDATALEN];

	snprintf(name, sizeof(name), "syncext %s %d, %zu bytes", area->what, area->layout, area->unit);
	return name;
}

static void
take_area(SharedArea *area, void *place)
{
	area->attached(place);
	area->at_hand = true;
}

static void
start_areas(void)
{
	if (next_startup_hook != NULL)
		next_startup_hook();
	for (SharedArea *area = requested; area != NULL; area = area->next)
	{
		bool		found;
		void	   *place;

		LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
		place = ShmemInitStruct(name_of(area), area->size(), &found);
		if (!found)
			area->init(place);
		LWLockRelease(AddinShmemInitLock);
		take_area(area, place);
	}
}

void
shared_area_request(SharedArea *area)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (requested == NULL)
	{
		next_request_hook = shmem_request_hook;
		shmem_request_hook = request_areas;
		next_startup_hook = shmem_startup_hook;
		shmem_startup_hook = start_areas;
	}
	area->next = requested;
	requested = area;
}

bool
shared_area_preloaded(void)
{
	return requested != NULL;
}

/* ---------- later ---------- */

bool
shared_area_possible(const SharedArea *area)
{
#ifdef HAVE_NAMED_DSM_COMPAT
	return !area->at_hand;
#else
	return false;
#endif
}

void
shared_area_attach(void *arg)
{
#ifdef HAVE_NAMED_DSM_COMPAT
	SharedArea *area = arg;
	bool		found;

	take_area(area, GetNamedDSMSegment(name_of(area), area->size(), area->init, &found));
#endif
}

bool
shared_area_try(SharedArea *area)
{
	MemoryContext context = CurrentMemoryContext;
	bool		begins = shared_area_possible(area) && !IsTransactionState();
	ErrorData  *error;

	if (begins)
		StartTransactionCommand();
	error = shared_area_possible(area) ? subxact_try(shared_area_attach, area) : NULL;
	if (error != NULL)
		FreeErrorData(error);
	if (begins)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return area->at_hand;
}
