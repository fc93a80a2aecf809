/*
 * ladder_names.c
 *	  The words of the ladder: rungs, resolutions, audiences; and which rungs make
 *	  a ladder.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "model/ladder.h"

PG_FUNCTION_INFO_V1(syncext_resolution_name);
PG_FUNCTION_INFO_V1(syncext_told_name);

static const struct
{
	const char *name;
	LadderRung	rung;
}			rung_names[] = {
	{"field", RUNG_FIELD},
	{"version", RUNG_VERSION},
	{"latest", RUNG_LATEST},
	{"merge", RUNG_MERGE},
	{"priority", RUNG_PRIORITY},
	{"manual", RUNG_MANUAL},
	{"keep", RUNG_KEEP},
	{"overwrite", RUNG_OVERWRITE},
};

#define FINAL_RUNGS	(RUNG_MANUAL | RUNG_KEEP | RUNG_OVERWRITE)

static const struct
{
	Resolution	resolution;
	const char *name;
}			resolution_names[] = {
	{RESOLUTION_NEW_RECORD, "NEW_RECORD"},
	{RESOLUTION_VERSION_WIN, "VERSION_WIN"},
	{RESOLUTION_STALE_SKIP, "STALE_SKIP"},
	{RESOLUTION_LATEST_WIN, "LATEST_WIN"},
	{RESOLUTION_LATEST_SKIP, "LATEST_SKIP"},
	{RESOLUTION_NO_CHANGE, "NO_CHANGE"},
	{RESOLUTION_FIELD_MERGE, "FIELD_MERGE"},
	{RESOLUTION_FIELD_RULE, "FIELD_RULE"},
	{RESOLUTION_PRIORITY_WIN, "PRIORITY_WIN"},
	{RESOLUTION_FIELD_WIN, "FIELD_WIN"},
	{RESOLUTION_FIELD_SKIP, "FIELD_SKIP"},
	{RESOLUTION_MANUAL, "MANUAL"},
	{RESOLUTION_KEEP, "KEEP"},
	{RESOLUTION_OVERWRITE, "OVERWRITE"},
	{RESOLUTION_PRECONDITION_FAILED, "PRECONDITION_FAILED"},
	{RESOLUTION_DEPENDENCY_WAIT, "DEPENDENCY_WAIT"},
	{RESOLUTION_RESTRICTED, "RESTRICTED"},
	{RESOLUTION_KEY_CONFLICT, "KEY_CONFLICT"},
	{RESOLUTION_TOMBSTONE, "TOMBSTONE"},
	{RESOLUTION_RESOLVED, "RESOLVED"},
	{RESOLUTION_DISMISSED, "DISMISSED"},
	{RESOLUTION_SUPERSEDED, "SUPERSEDED"},
	{RESOLUTION_CAPTURED, "CAPTURED"},
};

const char *
resolution_name(Resolution resolution)
{
	for (size_t i = 0; i < lengthof(resolution_names); i++)
		if (resolution_names[i].resolution == resolution)
			return resolution_names[i].name;
	return "UNKNOWN";
}

const char *
audience_name(Audience audience)
{
	switch (audience)
	{
		case AUDIENCE_NONE:
			return "none";
		case AUDIENCE_OTHERS:
			return "others";
		case AUDIENCE_ORIGIN:
			return "origin";
		case AUDIENCE_ALL:
			return "all";
	}
	return "unknown";
}

static LadderRung
rung_by_name(const char *name)
{
	for (size_t i = 0; i < lengthof(rung_names); i++)
		if (strcmp(rung_names[i].name, name) == 0)
			return rung_names[i].rung;
	return 0;
}

static bool
check_field_ladder(Ladder ladder, const char **why)
{
	if ((ladder & ~(RUNG_FIELD | RUNG_VERSION | RUNG_LATEST | RUNG_PRIORITY)) == 0 &&
		(ladder & (RUNG_VERSION | RUNG_LATEST)) != 0)
		return true;
	*why = "after \"field\" come version, latest or both, then priority or nothing";
	return false;
}

/*
 * Make a ladder of its rungs' names.  Returns false and says why where they
 * form none.
 */
bool
ladder_parse(char **rungs, int n, Ladder *ladder, const char **why)
{
	LadderRung	highest = 0;

	*ladder = 0;
	for (int i = 0; i < n; i++)
	{
		LadderRung	rung = rung_by_name(rungs[i]);

		if (rung == 0)
		{
			*why = psprintf("\"%s\" is not a rung: they are field, version, latest, merge, priority, manual, keep, overwrite",
							rungs[i]);
			return false;
		}
		if (rung <= highest || (highest & FINAL_RUNGS) != 0)
		{
			*why = psprintf("rung \"%s\" is out of order: first version, latest, merge, priority, then one of manual, keep, overwrite",
							rungs[i]);
			return false;
		}
		highest = rung;
		*ladder |= rung;
	}
	if (*ladder & RUNG_FIELD)
		return check_field_ladder(*ladder, why);
	if ((highest & FINAL_RUNGS) == 0)
	{
		*why = "a ladder ends with manual, keep or overwrite";
		return false;
	}
	if ((*ladder & (RUNG_VERSION | RUNG_LATEST)) == 0 &&
		*ladder != RUNG_KEEP && *ladder != RUNG_OVERWRITE &&
		*ladder != (RUNG_PRIORITY | RUNG_OVERWRITE))
	{
		*why = "a ladder with neither version nor latest can only be {keep}, {overwrite} or {priority,overwrite}";
		return false;
	}
	return true;
}

const char *
ladder_field_kind(Ladder ladder, DeleteMode deletes)
{
	return psprintf("%s%s/%s", ladder & RUNG_VERSION ? "version " : "",
					ladder & RUNG_LATEST ? "latest" : "", delete_mode_name(deletes));
}

/* A stamp is whole if it has all that the ladder makes one of. */
static bool
check_known(Ladder ladder, const Change *change, ChangeError *error)
{
	const LifeStamp *known = &change->known;

	if (!known->is_set || change->from_link)
		return true;
	if (!(ladder & RUNG_FIELD))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Its rungs go by \"version\", \"base\" and \"updatedAt\"; a field of this name goes into \"fields\".",
							"key \"known\" has no meaning in the ladder of entity \"%s\"",
							change->entity);
	if ((ladder & RUNG_VERSION) && !known->has_version)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the version of the record's last pull.",
							"\"known\" names no version, which the ladder of entity \"%s\" goes by",
							change->entity);
	if ((ladder & RUNG_LATEST) && !known->has_updated_at)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the updated_at of the record's last pull, as 2026-01-31T12:00:00Z.",
							"\"known\" names no time, which the ladder of entity \"%s\" goes by",
							change->entity);
	return true;
}

/* In a field ladder a change is stamped by its source, but where a table or a link sends it. */
static bool
check_base(Ladder ladder, const Change *change, ChangeError *error)
{
	if (!(ladder & RUNG_FIELD) || !change->has_base || change->from_link)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Send what it goes by, \"version\" or \"updatedAt\", above what the last pull of the record said.",
						"key \"base\" has no meaning in the ladder of entity \"%s\"",
						change->entity);
}

/* What the ladder needs of a document, beside what every document needs. */
bool
ladder_check_change(Ladder ladder, const Change *change, ChangeError *error)
{
	if (change->state != NULL)
		return (ladder & RUNG_FIELD) ||
			change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, "Give both hubs the same ladder.",
						 "entity \"%s\" has a field ladder at the other hub, and none here",
						 change->entity);
	if (!check_known(ladder, change, error) || !check_base(ladder, change, error))
		return false;
	if (change->increments.n > 0 && !(ladder & RUNG_MERGE))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Counters need a ladder with merge, as the default one.",
							"key \"increments\" has no meaning in the ladder of entity \"%s\"",
							change->entity);
	if (change_only_adds(change))
		return true;
	if ((ladder & RUNG_VERSION) && !change->has_version && !change->has_base)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							ladder & RUNG_FIELD ? "Send the source's version of the record." :
							"Send the source's version of the record, or in \"base\" the rowVersion that the edit was made on.",
							"key \"version\" is missing, which the ladder of entity \"%s\" goes by",
							change->entity);
	if ((ladder & RUNG_LATEST) && !change->has_updated_at)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send when the source changed the record, as 2026-01-31T12:00:00Z.",
							"key \"updatedAt\" is missing, which the ladder of entity \"%s\" goes by",
							change->entity);
	return true;
}

/* ---------- for SQL ---------- */

Datum
syncext_resolution_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(resolution_name((Resolution) PG_GETARG_CHAR(0))));
}

Datum
syncext_told_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(audience_name((Audience) PG_GETARG_CHAR(0))));
}
