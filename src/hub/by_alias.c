/*
 * by_alias.c
 *	  Changes that come under the name of a record that was merged into another one.
 *
 * The alias is looked for only where the record that was found is a tombstone, or where
 * there is none.  Who goes by the old name knows the record as it was then: what the
 * change repeats of that is no news, and its base tells nothing of the other record.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "hub/apply_state.h"
#include "hub/by_alias.h"
#include "hub/logged_change.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "model/field_impose.h"
#include "model/field_ladder.h"
#include "model/field_stamp.h"
#include "model/field_state.h"
#include "model/json.h"
#include "model/referred_id.h"
#include "storage/alias.h"

static Aliases *
aliases_table(ApplyCall *call)
{
	if (call->aliases == NULL)
		call->aliases = mapped_open_in(call->context, &alias_def, false);
	return call->aliases;
}

void
by_alias_leave_out(int64 merge, Change *change)
{
	Fields		kept = {0, palloc(sizeof(Field) * Max(change->fields.n, 1))};
	MemoryContext scratch;
	MemoryContext old;
	Fields		image;
	int64		row_version;

	if (change->deleted)
		return;
	/* a batch may come under such names alone, and the record have been large */
	scratch = AllocSetContextCreate(CurrentMemoryContext, "syncext merged record", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	if (merge_image(merge, &image, &row_version))
	{
		for (int i = 0; i < change->fields.n; i++)
			if (!fields_hold(&image, &change->fields.field[i]))
				kept.field[kept.n++] = change->fields.field[i];
		if (kept.n < change->fields.n)
			change->sent = NULL;
		change->fields = kept;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

bool
by_alias_follow(ApplyCall *call, const Change *change, Change *renamed)
{
	RecordAlias alias;

	if (!alias_find(aliases_table(call), change->entity, change->external_id, &alias))
		return false;
	*renamed = *change;
	/* the answer names it when the change's own memory is gone */
	renamed->external_id = MemoryContextStrdup(call->context, alias.kept_id);
	renamed->alias = change->external_id;
	renamed->alias_merge = alias.merge;
	if (renamed->has_base)
		renamed->base = 0;
	by_alias_leave_out(alias.merge, renamed);
	return true;
}

/* What a transaction writes that doesn't know of the entity's first merge the walk finds. */
static bool
was_merged(const ApplyCall *call, const char *entity_name)
{
	const Entity *entity = registry_entity(call->registry, entity_name);

	return entity != NULL && entity->merged;
}

const Change *
by_alias_refer(ApplyCall *call, const Entity *entity, const Change *change, Change *renamed)
{
	bool		refers = false;

	for (int i = 0; i < entity->nreferences && !change->deleted; i++)
	{
		const Reference *reference = &entity->references[i];
		const Field *field = fields_find(&change->fields, field_name(reference->field));
		const char *id = field == NULL ? NULL : referred_id(&field->value);
		RecordAlias alias;

		if (id == NULL || !was_merged(call, reference->parent) ||
			!alias_find(aliases_table(call), reference->parent, id, &alias))
			continue;
		if (!refers)
		{
			*renamed = *change;
			renamed->refers_anew = refers = true;
			renamed->fields.field = palloc(sizeof(Field) * change->fields.n);
			memcpy(renamed->fields.field, change->fields.field, sizeof(Field) * change->fields.n);
		}
		json_set_string(&renamed->fields.field[field - change->fields.field].value,
						alias.kept_id, strlen(alias.kept_id));
	}
	return refers ? renamed : change;
}

bool
by_alias_stands(ApplyCall *call, const Change *renamed)
{
	RecordAlias alias;

	return alias_find(aliases_table(call), renamed->entity, renamed->alias, &alias) &&
		strcmp(alias.kept_id, renamed->external_id) == 0;
}

bool
by_alias_decide(const Change *change, const Record *record, Decision *d)
{
	if (change->alias == NULL)
		return false;
	if (change->deleted)
		field_ladder_let_stand(record, false,
							   psprintf("%s was merged into this record, which stays",
										clip_string(change->alias, CLIP_QUOTE)), d);
	else if (change->fields.n == 0 && change->increments.n == 0 && change->counted == NULL)
		field_ladder_let_stand(record, false,
							   psprintf("%s was merged into this record: it had all that already",
										clip_string(change->alias, CLIP_QUOTE)), d);
	else
		return false;
	return true;
}

/* Is the source shown the record, as it was or as it is? */
static bool
is_shown(const ApplyItem *item, const Record *record, const Record *after)
{
	const Source *source = item->source;
	const char *entity = item->change->entity;

	return visibility_unlimited(source) || visibility_shows(source, entity, record) ||
		visibility_shows(source, entity, after);
}

void
by_alias_tell(const ApplyItem *item, const Record *record, Decision *d)
{
	const Change *change = item->change;

	if ((change->alias == NULL && !change->takes_over) || d->resolution == RESOLUTION_DEPENDENCY_WAIT)
		return;
	/* one that it isn't shown it would be told by its id that it is gone */
	if (!is_shown(item, record, &d->after))
		d->audience = d->audience == AUDIENCE_ALL ? AUDIENCE_OTHERS :
			d->audience == AUDIENCE_ORIGIN ? AUDIENCE_NONE : d->audience;
	else if (d->audience == AUDIENCE_OTHERS)
		d->audience = AUDIENCE_ALL;
	if (change->alias != NULL)
		d->reason = psprintf("%s; %s was merged into this record", d->reason,
							 clip_string(change->alias, CLIP_QUOTE));
}

/* Of a field ladder it is gone by a later word than that by which another hub has it still. */
static void
end_again(const ApplyItem *item, Record *gone)
{
	const Entity *entity = item->entity;
	const FieldState *state = item->change->state;
	Record		before = *gone;

	if ((entity->ladder & RUNG_FIELD) && state != NULL)
	{
		const LifeStamp above = field_stamp_known(&state->record);

		field_impose(entity->ladder, entity->deletes, &above, &before, gone);
	}
}

void
by_alias_remind(ApplyCall *call, const ApplyItem *item, const Decision *d)
{
	const Change *change = item->change;
	Record		gone;

	if (change->alias_merge == 0 || d->resolution == RESOLUTION_DEPENDENCY_WAIT ||
		source_has_own_keys(item->source, change->entity))
		return;
	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(call->canonical, change->entity, change->alias, &gone);
		if (!gone.exists || !gone.deleted)
			return;
		gone.row_version = Max(gone.row_version, d->after.row_version) + 1;
		end_again(item, &gone);
	} while (canonical_write(call->canonical, change->entity, change->alias, &gone) != ROWS_DONE);
	/* else it is told with all others, when nothing refers to it any more */
	if (!change->deleted && merge_is_settled(change->alias_merge))
		merge_log_gone(call->log, change, &gone, AUDIENCE_ORIGIN);
}
