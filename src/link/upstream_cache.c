/*
 * upstream_cache.c
 *	  The connections to hubs that a session keeps from call to call, one a link.
 */
#include "postgres.h"

#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "link/upstream_cache.h"
#include "storage/registry.h"

static List *connections = NIL;		/* of Upstream * */

/* A server or a user mapping was altered, perhaps one of ours. */
static void
outdate_connections(Datum arg, int cacheid, uint32 hashvalue)
{
	foreach_ptr(Upstream, upstream, connections)
		upstream->outdated = true;
}

Upstream *
upstream_cached(const char *link)
{
	foreach_ptr(Upstream, upstream, connections)
	{
		if (strcmp(upstream->link, link) == 0)
			return upstream;
	}
	return NULL;
}

void
upstream_cached_drop(const char *link)
{
	Upstream   *upstream = upstream_cached(link);

	if (upstream == NULL)
		return;
	connections = list_delete_ptr(connections, upstream);
	upstream_close(upstream);
}

/* Is it still the link's hub?  An administrator may have edited syncext.link. */
static bool
is_upstream_of(const Upstream *upstream, const Link *link)
{
	return strcmp(upstream->source, link->source) == 0 && strcmp(upstream->server, link->server) == 0 &&
		upstream->owner == link->owner && upstream->relay == link->relay;
}

Upstream *
upstream_cached_prepare(const Link *link)
{
	static bool registered = false;
	Upstream   *upstream = upstream_cached(link->name);
	MemoryContext old;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, outdate_connections, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, outdate_connections, (Datum) 0);
		registered = true;
	}
	/* a connection's handshake told the hub our epoch of then: a new epoch needs a new one */
	if (upstream != NULL && !upstream->outdated && is_upstream_of(upstream, link) &&
		upstream->greeting.self.epoch == registry_get()->epoch && remote_alive(&upstream->remote))
		return upstream;
	upstream_cached_drop(link->name);
	upstream = upstream_prepare(link);
	old = MemoryContextSwitchTo(CacheMemoryContext);
	connections = lappend(connections, upstream);
	MemoryContextSwitchTo(old);
	return upstream;
}
