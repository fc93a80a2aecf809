/*
 * alias.c
 *	  External ids of records that were merged into others: tables syncext.alias and
 *	  syncext.merge.
 */
#include "postgres.h"

#include "model/json_read.h"
#include "storage/alias.h"
#include "storage/canonical.h"

/* A merge that was committed since a REPEATABLE READ transaction began counts, too. */
const MappedDef alias_def = {
	.relation = "alias",
	.latest = true,
	.column = {
		[COL_ALIAS_ENTITY] = {MAP_TEXT, offsetof(RecordAlias, entity)},
		[COL_ALIAS_EXTERNAL_ID] = {MAP_TEXT, offsetof(RecordAlias, external_id)},
		[COL_ALIAS_KEPT_ID] = {MAP_TEXT, offsetof(RecordAlias, kept_id)},
		[COL_ALIAS_MERGE] = {MAP_INT8, offsetof(RecordAlias, merge)},
	}
};

bool
alias_find(Aliases *aliases, const char *entity, const char *external_id, RecordAlias *alias)
{
	const RecordAlias asked = {.entity = entity, .external_id = external_id};

	if (rows_empty(aliases->rows))
		return false;
	*alias = asked;
	return mapped_find(aliases, alias);
}

List *
alias_names(Aliases *aliases, const char *entity, const char *kept_id)
{
	const RecordAlias asked = {.entity = entity, .kept_id = kept_id};
	RowsScan   *scan;
	List	   *names = NIL;

	if (rows_empty(aliases->rows))
		return NIL;
	scan = mapped_scan(aliases, "alias_kept", 2, 0, &asked);
	while (rows_scan_next(scan))
	{
		RecordAlias alias;

		mapped_read(aliases, &alias);
		names = lappend(names, unconstify(char *, alias.external_id));
	}
	rows_scan_end(scan);
	return names;
}

const char *
alias_kept(const char *entity, const char *external_id)
{
	Aliases    *aliases = mapped_open(&alias_def, false);
	RecordAlias		alias;
	bool		found = alias_find(aliases, entity, external_id, &alias);

	mapped_close(aliases);
	return found ? alias.kept_id : NULL;
}

const char *
alias_read(const char *entity, const char *external_id, Record *record)
{
	const char *kept;

	canonical_read(entity, external_id, record);
	kept = record->exists && !record->deleted ? NULL : alias_kept(entity, external_id);
	if (kept != NULL)
		canonical_read(entity, kept, record);
	return kept;
}

/* ---------- what was merged ---------- */

typedef struct MergeImage
{
	int64		id;
	int64		row_version;
	Jsonb	   *drop_before;
	TimestampTz settled_at;		/* 0: null */
} MergeImage;

static const MappedDef merge_def = {
	.relation = "merge",
	.latest = true,
	.column = {
		[COL_MERGE_ID] = {MAP_INT8, offsetof(MergeImage, id)},
		[COL_MERGE_ROW_VERSION] = {MAP_INT8, offsetof(MergeImage, row_version)},
		[COL_MERGE_DROP_BEFORE] = {MAP_OBJECT, offsetof(MergeImage, drop_before)},
		[COL_MERGE_SETTLED_AT] = {MAP_TIME, offsetof(MergeImage, settled_at)},
	}
};

static bool
find_merge(int64 merge, MergeImage *image)
{
	image->id = merge;
	return mapped_find_one(&merge_def, image);
}

bool
merge_is_settled(int64 merge)
{
	MergeImage	image;

	return find_merge(merge, &image) && image.settled_at != 0;
}

bool
merge_image(int64 merge, Fields *fields, int64 *row_version)
{
	MergeImage	image;
	Fields		members;

	if (!find_merge(merge, &image))
		return false;
	members = fields_of(image.drop_before);
	*fields = fields_of_object(json_read_object(fields_value(&members, "fields")));
	*row_version = image.row_version;
	return true;
}
