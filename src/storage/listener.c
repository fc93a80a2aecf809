/*
 * listener.c
 *	  The sessions that want to be told of what is committed: table syncext.listener.
 *
 * Read at each notification, and whenever a session that waits looks: hence not by a query.
 */
#include "postgres.h"

#include "storage/listener.h"
#include "storage/mapped.h"

static const MappedDef listener_def = {
	.relation = "listener",
	.column = {
		[COL_LISTENER_PID] = {MAP_INT4, offsetof(Listener, pid)},
		[COL_LISTENER_SOURCE] = {MAP_TEXT, offsetof(Listener, source)},
		[COL_LISTENER_SINCE] = {MAP_TIME, offsetof(Listener, since)},
		[COL_LISTENER_LISTENS] = {MAP_BOOL, offsetof(Listener, listens)},
		[COL_LISTENER_WAITS] = {MAP_BOOL, offsetof(Listener, waits)},
	}
};

typedef struct Reading
{
	MappedTable *table;
	List	   *listeners;
} Reading;

static void
read_row(Rows *rows, void *arg)
{
	Reading    *r = arg;

	r->listeners = lappend(r->listeners, mapped_copy(r->table, sizeof(Listener)));
}

List *
listener_list(void)
{
	Reading		r = {.table = mapped_open(&listener_def, false)};

	rows_walk(r.table->rows, read_row, &r);
	mapped_close(r.table);
	return r.listeners;
}

bool
listener_find(int pid, Listener *listener)
{
	listener->pid = pid;
	return mapped_find_one(&listener_def, listener);
}
