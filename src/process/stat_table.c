/*
 * stat_table.c
 *	  Counters in the unlogged table syncext.stat_row, where there is no shared memory.
 *
 * Appending waits for nobody: a commit that counts must not stand behind one who has locked
 * the table.
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "process/stat_table.h"
#include "storage/mapped.h"
#include "storage/registry.h"

typedef struct StatRow
{
	const char *kind;
	const char *what;
	const char *name;
	const char *entity;
	int64		n[STAT_NCOUNTS];
	TimestampTz last_at;
} StatRow;

static const MappedDef stat_row_def = {
	.relation = "stat_row",
	.column = {
		[COL_STAT_ROW_KIND] = {MAP_TEXT, offsetof(StatRow, kind)},
		[COL_STAT_ROW_WHAT] = {MAP_TEXT, offsetof(StatRow, what)},
		[COL_STAT_ROW_NAME] = {MAP_TEXT, offsetof(StatRow, name)},
		[COL_STAT_ROW_ENTITY] = {MAP_TEXT, offsetof(StatRow, entity)},
		[COL_STAT_ROW_ONE] = {MAP_INT8, offsetof(StatRow, n[0])},
		[COL_STAT_ROW_TWO] = {MAP_INT8, offsetof(StatRow, n[1])},
		[COL_STAT_ROW_THREE] = {MAP_INT8, offsetof(StatRow, n[2])},
		[COL_STAT_ROW_FOUR] = {MAP_INT8, offsetof(StatRow, n[3])},
		[COL_STAT_ROW_LAST_AT] = {MAP_TIME, offsetof(StatRow, last_at)},
	}
};

static void
insert_entry(MappedTable *table, const StatEntry *entry)
{
	StatRow		row = {
		.kind = pnstrdup(&entry->key.kind, 1),
		.what = pnstrdup(&entry->key.what, 1),
		.name = entry->key.name,
		.entity = entry->key.entity,
		.last_at = entry->last_at
	};

	memcpy(row.n, entry->n, sizeof(row.n));
	mapped_insert(table, &row);
}

bool
stat_table_write(const StatEntries *counted)
{
	MappedTable *table;

	if (!ConditionalLockRelationOid(registry_relation("stat_row"), RowExclusiveLock))
		return false;
	/* for what an administrator has added to the table */
	PushActiveSnapshot(GetTransactionSnapshot());
	table = mapped_open(&stat_row_def, true);
	for (int i = 0; i < counted->room; i++)
		if (counted->entry[i].key.kind != '\0')
			insert_entry(table, &counted->entry[i]);
	mapped_close(table);
	PopActiveSnapshot();
	return true;
}

/* ---------- reading ---------- */

typedef struct Reading
{
	MappedTable *table;
	StatEntries *to;
	MemoryContext context;		/* reset after each row */
	int64		n;
} Reading;

static void
read_row(Rows *rows, void *arg)
{
	Reading    *r = arg;
	MemoryContext old = MemoryContextSwitchTo(r->context);
	StatRow		row;
	StatEntry	entry;

	mapped_read(r->table, &row);
	entry.key = stat_key(row.kind[0], row.what[0], row.name, row.entity);
	memcpy(entry.n, row.n, sizeof(entry.n));
	entry.last_at = row.last_at;
	stat_entries_add(r->to, &entry);
	r->n++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->context);
}

int64
stat_table_read(StatEntries *to)
{
	Reading		r = {.to = to};

	r.context = AllocSetContextCreate(CurrentMemoryContext, "syncext counters", ALLOCSET_SMALL_SIZES);
	r.table = mapped_open(&stat_row_def, false);
	rows_walk(r.table->rows, read_row, &r);
	mapped_close(r.table);
	MemoryContextDelete(r.context);
	return r.n;
}
