/*
 * release.c
 *	  Applying what a change sets free: children that waited for it, and
 *	  records that go with it.
 *
 * Called by hub/apply_call at the end of a call, in the same transaction, and
 * by hub/sweep for what is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/release.h"
#include "settings.h"
#include "storage/canonical.h"

/* ---------- one parked change ---------- */

/* Read the parked document again, against today's names and ladders. */
static bool
reread(const Registry *registry, const WaitingChange *w, Change *change, ChangeError *error)
{
	ChangeLimits limits = {.max_fields = setting_max_fields};
	const Entity *entity;

	if (!change_parse(&w->change->root, &limits, change, error))
		return false;
	entity = registry_entity(registry, change->entity);
	if (entity == NULL || registry_source(registry, change->source) == NULL)
		return change_error(error, ERRCODE_SYNC_UNKNOWN_NAME, NULL,
							"source \"%s\" or entity \"%s\" does not exist any more",
							change->source, change->entity);
	return ladder_check_change(entity->ladder, change, error);
}

/* It stays parked: for another parent, for another while, or as a dead letter. */
static void
park_again(const Registry *registry, Dependency *dependency, WaitingChange *w, bool attempted)
{
	const Source *source = registry_source(registry, w->source);

	if (attempted)
	{
		w->attempts++;
		w->next_attempt = dependency_next_attempt(w->parked_at, GetCurrentTimestamp(), w->attempts,
												  source ? source->retry_cap : 0);
		w->error = psprintf("%s %s has not arrived", w->parent_entity, w->parent_id);
	}
	(void) waiting_update(dependency_waiting(dependency), w);
}

/* An earlier change of the record and source that stays parked; NULL: none does. */
static const WaitingChange *
find_ahead(List *staying, const WaitingChange *w)
{
	ListCell   *lc;

	foreach(lc, staying)
	{
		const WaitingChange *ahead = lfirst(lc);

		if (strcmp(ahead->entity, w->entity) == 0 &&
			strcmp(ahead->external_id, w->external_id) == 0 &&
			strcmp(ahead->source, w->source) == 0)
			return ahead;
	}
	return NULL;
}

/* It waits for what the change ahead of it waits for. */
static void
stay_behind(Dependency *dependency, WaitingChange *w, const WaitingChange *ahead)
{
	w->parent_entity = ahead->parent_entity;
	w->parent_id = ahead->parent_id;
	w->next_attempt = ahead->next_attempt;
	(void) waiting_update(dependency_waiting(dependency), w);
}

/*
 * Apply a parked change if its parents are there.  Whatever is wrong with it
 * is kept with it: the transaction that sets it free has nothing to do with it.
 * Returns false if it stays parked.
 */
static bool
release_one(ApplyCall *call, const Registry *registry, Dependency *dependency, WaitingChange *w,
			const WaitingChange *ahead, bool attempted)
{
	Change		change;
	ChangeError error;
	RecordKey	parent;
	Answer		answer;

	if (!reread(registry, w, &change, &error))
	{
		w->next_attempt = DT_NOEND;
		w->error = error.message;
		(void) waiting_update(dependency_waiting(dependency), w);
		return false;
	}
	if (ahead != NULL && dependency_ordered(dependency, &change))
	{
		stay_behind(dependency, w, ahead);
		return false;
	}
	if (dependency_missing(dependency, &change, &parent))
	{
		w->parent_entity = parent.entity;
		w->parent_id = parent.external_id;
		park_again(registry, dependency, w, attempted);
		return false;
	}
	if (!apply_available(call, &change))
	{
		/* the next sweep finds whoever holds the record gone */
		w->next_attempt = GetCurrentTimestamp();
		(void) waiting_update(dependency_waiting(dependency), w);
		return false;
	}
	if (waiting_take(dependency_waiting(dependency), w->id))
		apply_released(call, &change, &answer);
	return true;
}

int
release_parked(ApplyCall *call, const Registry *registry, Dependency *dependency, List *parked,
			   bool attempted)
{
	List	   *staying = NIL;
	ListCell   *lc;

	foreach(lc, parked)
	{
		WaitingChange *w = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (!release_one(call, registry, dependency, w, find_ahead(staying, w), attempted))
			staying = lappend(staying, w);
	}
	return list_length(parked) - list_length(staying);
}

/* ---------- what a call sets off ---------- */

static void
delete_child(ApplyCall *call, const Cascade *cascade)
{
	Canonical  *canonical = canonical_open(false);
	Record		record;
	Change		change = {0};
	Answer		answer;

	canonical_find(canonical, cascade->key.entity, cascade->key.external_id, &record);
	canonical_close(canonical);
	if (!record.exists || record.deleted)
		return;
	change.entity = cascade->key.entity;
	change.external_id = cascade->key.external_id;
	change.source = cascade->source;
	change.deleted = true;
	change.has_base = true;
	change.base = record.row_version;
	apply_released(call, &change, &answer);
}

void
release_run(ApplyCall *call, const Registry *registry, Dependency *dependency,
			Consequences *consequences)
{
	while (consequences->arrived != NIL || consequences->cascades != NIL)
	{
		CHECK_FOR_INTERRUPTS();
		if (consequences->cascades != NIL)
		{
			Cascade    *cascade = llast(consequences->cascades);

			consequences->cascades = list_delete_last(consequences->cascades);
			delete_child(call, cascade);
		}
		else
		{
			RecordKey  *key = linitial(consequences->arrived);

			consequences->arrived = list_delete_first(consequences->arrived);
			release_parked(call, registry, dependency,
						   waiting_for_parent(dependency_waiting(dependency), key->entity,
											  key->external_id), false);
		}
	}
}
