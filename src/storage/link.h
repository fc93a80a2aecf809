/*
 * link.h
 *	  Links to hubs on other servers (table syncext.link), cached in the
 *	  backend.
 *
 * A linked source stands here for the hub behind its link.  The entities of
 * the relations that are attached to it are decided there: there is no golden
 * record of them here.  Like a Registry, a Link that was handed out stays valid
 * until the end of the transaction.
 */
#ifndef SYNCEXT_LINK_H
#define SYNCEXT_LINK_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/hints.h"

typedef struct Link
{
	const char *name;
	const char *server;			/* foreign server that says how to connect */
	const char *source;
	const char *owner_name;		/* the role that made it, and that its worker runs as */
	Oid			owner;			/* InvalidOid: there is no such role, and no worker */
	bool		enabled;
	const char *hub;			/* the hub's mark, a uuid; NULL: not known yet */
	int			worker_pid;		/* 0: none is running */
	TimestampTz added_at;
	bool		relay;			/* it stands for all of the hub, and holds no relation; changes
								 * under LOCK_EXCHANGE alone */
} Link;

/* These return NULL where there is none. */
extern const Link *link_of_name(const char *name);
extern const Link *link_of_source(const char *source);
/* The link whose hub decides the entity: a relation of its source holds it. */
extern const Link *link_of_entity(const char *entity);
extern List *link_list(void);	/* of const Link * */

/* Errors for requests about a source or entity that another hub decides. */
#define LINK_SOURCE_MESSAGE	"source \"%s\" stands for the hub behind link \"%s\""
#define LINK_SOURCE_HINT(link) \
	call_text("Its changes come and go with CALL sync_exchange(%s).", \
			 quote_literal_cstr((link)->name))
#define LINK_ENTITY_MESSAGE	"entity \"%s\" is decided by the hub behind link \"%s\""
#define LINK_ENTITY_HINT(link) \
	psprintf("Edit the table that is attached to source \"%s\", or call sync_apply at that hub.", \
			 (link)->source)

/*
 * Raise 55000 if the source is linked, or the entity decided by the hub behind
 * a link: what is asked for is that hub's business.
 */
extern void link_refuse_source(const char *source);
extern void link_refuse_entity(const char *entity);

#endif							/* SYNCEXT_LINK_H */
