/*
 * link.c
 *	  Links to hubs on other servers (table syncext.link), cached in the
 *	  backend.
 *
 * Read and outdated as storage/binding is.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "storage/binding.h"
#include "storage/config_cache.h"
#include "storage/config_scan.h"
#include "storage/link.h"
#include "storage/names.h"

static void
read_link(void *arg, const ConfigRow *row)
{
	List	  **links = arg;
	Link	   *link = palloc0(sizeof(Link));

	link->name = config_text(row, COL_LINK_NAME);
	link->server = config_text(row, COL_LINK_SERVER);
	link->source = config_text(row, COL_LINK_SOURCE);
	link->owner_name = config_text(row, COL_LINK_OWNER);
	link->owner = role_of_name(link->owner_name);
	link->enabled = DatumGetBool(row->values[COL_LINK_ENABLED]);
	if (!row->isnull[COL_LINK_HUB])
		link->hub = DatumGetCString(DirectFunctionCall1(uuid_out, row->values[COL_LINK_HUB]));
	if (!row->isnull[COL_LINK_WORKER_PID])
		link->worker_pid = DatumGetInt32(row->values[COL_LINK_WORKER_PID]);
	link->added_at = DatumGetTimestampTz(row->values[COL_LINK_ADDED_AT]);
	link->relay = DatumGetBool(row->values[COL_LINK_RELAY]);
	*links = lappend(*links, link);
}

static void *
load_links(void)
{
	List	   *links = NIL;

	config_read("link", read_link, &links);
	return links;
}

static ConfigCache cache = {.name = "links", .load = load_links};

List *
link_list(void)
{
	return config_cache_get(&cache);
}

const Link *
link_of_name(const char *name)
{
	foreach_ptr(const Link, link, link_list())
	{
		if (strcmp(link->name, name) == 0)
			return link;
	}
	return NULL;
}

const Link *
link_of_source(const char *source)
{
	foreach_ptr(const Link, link, link_list())
	{
		if (strcmp(link->source, source) == 0)
			return link;
	}
	return NULL;
}

const Link *
link_of_entity(const char *entity)
{
	foreach_ptr(const Link, link, link_list())
	{
		if (binding_of_entity(link->source, entity) != NULL)
			return link;
	}
	return NULL;
}

/* ---------- what is the other hub's business ---------- */

void
link_refuse_source(const char *source)
{
	const Link *link = link_of_source(source);

	if (link != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg(LINK_SOURCE_MESSAGE, source, link->name),
				 errhint("%s", LINK_SOURCE_HINT(link))));
}

void
link_refuse_entity(const char *entity)
{
	const Link *link = link_of_entity(entity);

	if (link != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg(LINK_ENTITY_MESSAGE, entity, link->name),
				 errhint("%s", LINK_ENTITY_HINT(link))));
}
