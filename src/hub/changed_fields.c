/*
 * changed_fields.c
 *	  Which fields of a delivered record have changed since its target was last
 *	  told: column changed of sync_pull.
 *
 * A field's stamp says in which row version it got its value, and the window's rows
 * of the record which row version it had before the first of them.  What a stamp can't
 * tell is told by the rows: fields of the target's own that lost; a record that was
 * deleted in between, or a conflict that was closed, of which the target
 * may lack more than was set since.
 */
#include "postgres.h"

#include "compat.h"
#include "hub/changed_fields.h"
#include "model/json_read.h"

static void
note_lost(ChangedFields *changed, FieldName name)
{
	FieldName  *copy = palloc(sizeof(FieldName));

	*copy = name;
	changed->lost = lappend(changed->lost, copy);
}

/* All that the target's own change named. */
static void
note_sent_fields(ChangedFields *changed, const FeedWindow *window)
{
	Jsonb	   *fields;
	Fields		sent;

	changed->unknown |= feed_window_fields(window, &fields) != NULL;
	sent = fields_of(fields);
	for (int i = 0; i < sent.n; i++)
		note_lost(changed, sent.field[i].name);
}

/* The target's own change lost these, or {*}: all that it named. */
static void
note_lost_fields(ChangedFields *changed, const FeedWindow *window, const JsonbValue *lost)
{
	JsonbContainer *array = json_read_array(lost);

	for (int i = 0; array != NULL && i < (int) JsonContainerSize(array); i++)
	{
		const JsonbValue *name = getIthJsonbValueFromContainer(array, i);

		if (name->type != jbvString)
			continue;
		if (name->val.string.len == 1 && name->val.string.val[0] == '*')
			note_sent_fields(changed, window);
		else
			note_lost(changed, (FieldName) {name->val.string.val, name->val.string.len});
	}
}

static bool
is_key(const Field *member, const char *key)
{
	return field_name_cmp(member->name, field_name(key)) == 0;
}

/* Does a member of the row's detail tell that the target may lack anything? */
static bool
hides_changes(const Field *member)
{
	return is_key(member, "deleted") || is_key(member, "created") ||
		is_key(member, "revived") || is_key(member, "closes") || is_key(member, "conflictId");
}

void
changed_fields_note(ChangedFields *changed, const FeedWindow *window, const FeedRow *row)
{
	/* one that tells its own source alone has written nothing */
	const int64 before = row->row_version - (row->audience == AUDIENCE_ORIGIN ? 0 : 1);
	Jsonb	   *stored;
	Fields		detail;

	changed->since = changed->noted ? Min(changed->since, before) : before;
	changed->noted = true;
	changed->unknown |= feed_window_detail(window, &stored) != NULL;
	/* what the target made itself it has not been told of before */
	changed->unknown |= row->correction && feed_window_on_none(window);
	if (changed->unknown || stored == NULL)
		return;
	fields_from_container(&stored->root, &detail);
	for (int i = 0; i < detail.n; i++)
	{
		changed->unknown |= hides_changes(&detail.field[i]);
		if (row->correction && is_key(&detail.field[i], "lost"))
			note_lost_fields(changed, window, &detail.field[i].value);
	}
}

bool
changed_fields_find(const ChangedFields *changed, Canonical *canonical,
					const CanonicalState *state, const FieldNames *withheld, FieldNames *names)
{
	int			kept = 0;

	/* one that was made anew has lost what its earlier life had, too */
	if (!changed->noted || changed->unknown ||
		!canonical_seek_set_since(canonical, state, changed->since, list_length(changed->lost),
								  names))
		return false;
	for (int i = 0; withheld->n > 0 && i < names->n; i++)
		if (!field_names_has(withheld, names->name[i]))
			names->name[kept++] = names->name[i];
	if (withheld->n > 0)
		names->n = kept;
	foreach_ptr(const FieldName, name, changed->lost)
	{
		if (!field_names_has(withheld, *name) && !field_names_has(names, *name))
			field_names_add(names, *name);
	}
	field_names_sort(names);
	return true;
}
