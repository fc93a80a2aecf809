/*
 * config_cache.c
 *	  What was read from the configuration's tables, kept until one of them changes.
 *
 * Triggers on the tables invalidate one relation, for all of them: its invalidation
 * outdates all caches.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "storage/config_cache.h"
#include "storage/relations.h"

#define MAX_FORGETTERS	4

static ConfigCache *caches = NULL;
static Oid	trigger_relid = InvalidOid;	/* invalidating it outdates all caches */

/* Called in the middle of other code: only mark, the next use reads again. */
static void
invalidate(Datum arg, Oid relid)
{
	if (OidIsValid(relid) && relid != trigger_relid)
		return;
	for (ConfigCache *cache = caches; cache != NULL; cache = cache->next)
		cache->valid = false;
}

/* Roles are kept by name: one came, went or got another name. */
static void
invalidate_roles(Datum arg, int cacheid, uint32 hash)
{
	for (ConfigCache *cache = caches; cache != NULL; cache = cache->next)
		cache->valid = false;
}

void
config_outdate(MemoryContext context)
{
	MemoryContextSetParent(context, TopTransactionContext);
}

/* ---------- finding pointers that are kept for too long ---------- */

#ifdef USE_ASSERT_CHECKING

static void (*forgetters[MAX_FORGETTERS]) (void);
static int	nforgetters = 0;

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	for (int i = 0; i < nforgetters; i++)
		forgetters[i] ();
}

void
config_forget_at_end(void (*forget) (void))
{
	if (nforgetters == 0)
		RegisterXactCallback(at_end_of_transaction, NULL);
	Assert(nforgetters < MAX_FORGETTERS);
	forgetters[nforgetters++] = forget;
}

static void
forget_contents(void)
{
	for (ConfigCache *cache = caches; cache != NULL; cache = cache->next)
	{
		if (cache->context != NULL)
			config_outdate(cache->context);
		cache->context = NULL;
		cache->content = NULL;
		cache->valid = false;
	}
}

#else

void
config_forget_at_end(void (*forget) (void))
{
}

#endif							/* USE_ASSERT_CHECKING */

/* ---------- reading ---------- */

static void
register_cache(ConfigCache *cache)
{
	if (caches == NULL)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, invalidate_roles, (Datum) 0);
#ifdef USE_ASSERT_CHECKING
		config_forget_at_end(forget_contents);
#endif
	}
	cache->next = caches;
	caches = cache;
	cache->registered = true;
}

static void
rebuild(ConfigCache *cache)
{
	MemoryContext fresh = AllocSetContextCreate(CurrentMemoryContext, "syncext configuration",
												ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);
	void	   *content;

	MemoryContextSetIdentifier(fresh, cache->name);
	trigger_relid = registry_relation("source");
	/* an invalidation that comes while we read counts for the next call */
	cache->valid = true;
	PG_TRY();
	{
		content = cache->load();
	}
	PG_CATCH();
	{
		cache->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	/* callers further up may still decide by the old content */
	if (cache->context != NULL)
		config_outdate(cache->context);
	MemoryContextSetParent(fresh, CacheMemoryContext);
	cache->context = fresh;
	cache->content = content;
	cache->generation++;
}

void *
config_cache_get(ConfigCache *cache)
{
	if (!cache->registered)
		register_cache(cache);
	AcceptInvalidationMessages();
	if (!cache->valid)
		rebuild(cache);
	return cache->content;
}
