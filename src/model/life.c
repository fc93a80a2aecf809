/*
 * life.c
 *	  When a record of a field ladder was written, deleted and born.
 */
#include "postgres.h"

#include "model/fields.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/life.h"

static const struct
{
	const char *name;
	DeleteMode	mode;
}			delete_mode_names[] = {
	{"latest", DELETES_BY_TIME},
	{"delete_wins", DELETES_WIN},
	{"edit_wins", EDITS_WIN},
};

bool
delete_mode_by_name(const char *name, DeleteMode *mode)
{
	for (size_t i = 0; i < lengthof(delete_mode_names); i++)
	{
		if (strcmp(delete_mode_names[i].name, name) == 0)
		{
			*mode = delete_mode_names[i].mode;
			return true;
		}
	}
	return false;
}

const char *
delete_mode_name(DeleteMode mode)
{
	for (size_t i = 0; i < lengthof(delete_mode_names); i++)
		if (delete_mode_names[i].mode == mode)
			return delete_mode_names[i].name;
	return "unknown";
}

/* ---------- comparing ---------- */

/* No time is earlier than any. */
static int
compare_times(const LifeStamp *a, const LifeStamp *b)
{
	if (!a->has_updated_at || !b->has_updated_at)
		return a->has_updated_at - b->has_updated_at;
	return a->updated_at < b->updated_at ? -1 : a->updated_at > b->updated_at;
}

int
life_stamp_cmp(bool by_version, bool by_time, const LifeStamp *a, const LifeStamp *b)
{
	if (!a->is_set || !b->is_set)
		return a->is_set - b->is_set;
	if (by_version && a->version != b->version)
		return a->version < b->version ? -1 : 1;
	return by_time ? compare_times(a, b) : 0;
}

bool
life_is_alive(const Life *life, DeleteMode mode, bool by_version, bool by_time)
{
	if (!life->lived.is_set)
		return false;
	switch (mode)
	{
		case DELETES_BY_TIME:
			return life_stamp_cmp(by_version, by_time, &life->lived, &life->died) > 0;
		case DELETES_WIN:
			return !life->died.is_set ||
				life_stamp_cmp(by_version, by_time, &life->born, &life->died) > 0;
		case EDITS_WIN:
			return life_stamp_cmp(by_version, by_time, &life->lived, &life->seen) > 0;
	}
	return false;
}

/* ---------- JSON ---------- */

static const struct
{
	const char *name;
	size_t		offset;
}			life_members[] = {
	{"cut", offsetof(Life, cut)},
	{"born", offsetof(Life, born)},
	{"died", offsetof(Life, died)},
	{"seen", offsetof(Life, seen)},
	{"lived", offsetof(Life, lived)},
};

void
life_push_stamp(JsonbParseState **state, const char *key, const LifeStamp *stamp)
{
	json_push_array(state, key);
	json_add_number(state, stamp->version);
	if (stamp->has_updated_at)
		json_add_number(state, stamp->updated_at);
	else
		json_add_string(state, NULL);
	if (stamp->source != NULL)
		json_add_string(state, stamp->source);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

Jsonb *
life_jsonb(const Life *life)
{
	JsonbParseState *state = json_begin_object();

	for (size_t i = 0; i < lengthof(life_members); i++)
	{
		const LifeStamp *stamp = (const LifeStamp *) ((const char *) life + life_members[i].offset);

		if (stamp->is_set)
			life_push_stamp(&state, life_members[i].name, stamp);
	}
	return json_end_object(&state);
}

bool
life_read_stamp(const JsonbValue *value, LifeStamp *stamp)
{
	JsonbContainer *array = json_read_array(value);
	JsonbValue *part[3] = {NULL};

	if (array == NULL || JsonContainerSize(array) < 2 || JsonContainerSize(array) > 3)
		return false;
	for (int i = 0; i < (int) JsonContainerSize(array); i++)
		part[i] = getIthJsonbValueFromContainer(array, i);
	stamp->is_set = stamp->has_version = true;
	stamp->has_updated_at = part[1]->type != jbvNull;
	stamp->source = part[2] == NULL ? NULL : json_read_string(part[2]);
	return json_read_number(part[0], 0, CHANGE_MAX_VERSION, &stamp->version) &&
		(!stamp->has_updated_at ||
		 json_read_number(part[1], MIN_TIMESTAMP, END_TIMESTAMP - 1, &stamp->updated_at)) &&
		(part[2] == NULL || stamp->source != NULL);
}

bool
life_read(JsonbContainer *object, Life *life)
{
	MemSet(life, 0, sizeof(Life));
	for (size_t i = 0; i < lengthof(life_members); i++)
	{
		const JsonbValue *value = getKeyJsonValueFromContainer(object, life_members[i].name,
															   strlen(life_members[i].name), NULL);

		if (value != NULL &&
			!life_read_stamp(value, (LifeStamp *) ((char *) life + life_members[i].offset)))
			return false;
	}
	return true;
}
