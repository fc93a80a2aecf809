/*
 * upstream_cache.h
 *	  The connections to hubs that a session keeps from call to call, one a link.
 */
#ifndef SYNCEXT_UPSTREAM_CACHE_H
#define SYNCEXT_UPSTREAM_CACHE_H

#include "link/upstream.h"

/*
 * Like upstream_prepare(), but returns the link's kept one where that still holds: it
 * may be open already.  What is returned is kept until upstream_cached_drop(), which
 * closes it, or until a later call finds it outdated.
 */
extern Upstream *upstream_cached_prepare(const Link *link);
extern Upstream *upstream_cached(const char *link); /* or NULL */
extern void upstream_cached_drop(const char *link);

#endif							/* SYNCEXT_UPSTREAM_CACHE_H */
