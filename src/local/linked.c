/*
 * linked.c
 *	  Attached relations whose entity is decided by the hub behind a link.
 *
 * Called by link/exchange.
 */
#include "postgres.h"

#include "local/linked.h"
#include "storage/link.h"

void
linked_place(const char *source, LinkedRecord *records, int n)
{
}

void
linked_answered(const char *source, const LinkedAnswer *answers, int n)
{
}

int
linked_retry(const char *source)
{
	return 0;
}

bool
linked_entity(const char *entity, const char **link_name)
{
	const Link *link = link_of_entity(entity);

	*link_name = link == NULL ? NULL : link->name;
	return link != NULL;
}
