/*
 * listing.c
 *	  Listing the children that were there before their reference.
 *
 * Called by hub/maintain, and by hub/dependency before the first delete of a
 * parent, for references with restrict or cascade that are new.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"

#include "hub/listing.h"
#include "hub/section.h"
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

	listing->done = section_true("SELECT syncext.list_children(%s)",
								 listing->waited ? "true" : "false");
}

static bool
try(bool waited)
{
	Listing		listing = {.waited = waited};

	return section_try(list, &listing) && listing.done;
}

bool
listing_try(void)
{
	return try(false);
}

static bool
list_now(void)
{
	Section		section;
	bool		done;

	SPI_connect();
	section_enter(&section, setting_maintain_lock_timeout);
	done = try(true);
	section_leave(&section);
	SPI_finish();
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
