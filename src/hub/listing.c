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

static void
list(void *arg)
{
	*(bool *) arg = section_true("SELECT syncext.list_children()");
}

bool
listing_try(void)
{
	bool		done = false;

	return section_try(list, &done) && done;
}

static bool
list_now(void)
{
	Section		section;
	bool		done;

	SPI_connect();
	section_enter(&section, setting_maintain_lock_timeout);
	done = listing_try();
	section_leave(&section);
	SPI_finish();
	return done;
}

void
listing_require(const char *parent_entity, bool write)
{
	/* listed or not as of now: a subtransaction that did it may have failed */
	const Entity *entity = registry_entity(registry_get(), parent_entity);

	if (entity == NULL || !entity->unlisted)
		return;
	/* what is listed by who was waited for must be seen */
	if (!write || IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the records that refer to entity \"%s\" are not listed yet", parent_entity),
				 errhint("Run CALL sync_maintain() first.")));
	if (!list_now())
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the records that refer to entity \"%s\" cannot be listed while a transaction is changing records that may not know of the reference",
						parent_entity),
				 errhint("Try again when it has ended. With a longer syncext.maintain_lock_timeout it waits longer.")));
}
