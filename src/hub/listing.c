/*
 * listing.c
 *	  Listing the children that were there before their reference.
 *
 * A reference with restrict or cascade has a list of its children.  That of a new one is
 * made by maintenance, or by the first delete of a parent before that.
 */
#include "postgres.h"

#include "access/xact.h"

#include "hub/listing.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/registry.h"
#include "storage/writers.h"

typedef struct Listing
{
	bool		waited;			/* for who may not know of the references */
	bool		done;
} Listing;

static void
list(void *arg)
{
	Listing    *listing = arg;

	listing->done = owner_true("SELECT syncext.list_children(%s)",
							   listing->waited ? "true" : "false");
}

bool
listing_try(bool waited)
{
	Listing		listing = {.waited = waited};

	return subxact_try_lock(list, &listing) && listing.done;
}

static bool
list_now(void)
{
	OwnerContext as_owner;
	bool		done;

	owner_enter(&as_owner, setting_maintain_lock_timeout);
	done = listing_try(true);
	owner_leave(&as_owner);
	return done;
}

/* As of now: a subtransaction that listed them may have failed. */
static bool
is_unlisted(const char *parent_entity)
{
	const Entity *entity = registry_entity(registry_get(), parent_entity);

	return entity != NULL && entity->unlisted;
}

bool
listing_ready(const char *parent_entity, bool write)
{
	if (!is_unlisted(parent_entity))
		return true;
	if (!write)
		return false;
	if (writers_wait_out() && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access: records that refer to entity \"%s\" may have been written since",
						parent_entity)));
	if (!is_unlisted(parent_entity))
		return true;
	/* what is listed now isn't for the eyes of an older snapshot */
	return !IsolationUsesXactSnapshot() && list_now();
}
