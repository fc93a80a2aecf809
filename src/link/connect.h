/*
 * connect.h
 *	  The hub behind a link: how to reach it, who we are there, and what it has
 *	  said of itself.
 */
#ifndef SYNCEXT_CONNECT_H
#define SYNCEXT_CONNECT_H

#include "nodes/pg_list.h"

#include "link/hello.h"
#include "link/remote.h"
#include "model/change.h"
#include "storage/link.h"

/* What this side and the hub have to agree on to understand each other. */
#define LINK_PROTOCOL	1

/* Statements that are prepared at the hub. */
#define HUB_PUSH	"syncext_push"	/* source, batch, changes */
#define HUB_PULL	"syncext_pull"	/* source, max_records, max_bytes; columns: see exchange_pull.c */
#define HUB_ACK		"syncext_ack"	/* source, batch, failed */

/* What row versions, and versions, can be: one more is still a number. */
#define HUB_MAX_VERSION	CHANGE_MAX_VERSION

/* A hub, connected to or about to be; lives until hub_close. */
typedef struct Hub
{
	MemoryContext context;		/* of all this */
	const char *link;
	const char *source;			/* that we are there, */
	const char *wire_source;	/* and as the wire has it */
	const char *server;			/* foreign server that says how to connect */
	Oid			owner;			/* of the link, whose user mapping it is */
	Greeting	greeting;		/* who we are, and what both sides know of each other */
	int			noptions;		/* for libpq */
	const char **keywords;		/* NULL at the end, as values */
	const char **values;
	bool		needs_password; /* its owner is no superuser */
	bool		outdated;		/* server or user mapping were altered since */
	char	   *tables;			/* what there is here to put records into: hub_note_tables; NULL: it
								 * isn't to be told */
	char	   *told_tables;	/* what the hub has heard of that; NULL: nothing */
	Remote		remote;

	/* as the hub said */
	const char *schema;			/* of its sync_ functions, quoted; the wire's */
	const char *hub;			/* its mark */
	List	   *entities;		/* that it knows, of char * */
	int64		behind;			/* records that it had for us still; -1: it hasn't said */
} Hub;

/*
 * Collect what is needed to connect, in a transaction: the options of server
 * and user mapping, and who we are.  Raises where the owner may not use the
 * server, or it can't be reached as the owner.
 */
extern Hub *hub_prepare(const Link *link);
/* Look again who we are, before a hub that is connected to is told once more. */
extern void hub_greet(Hub *hub);
/*
 * Connect, and have the hub say who it is; no transaction is needed.  With
 * claim the source is this database's from now on.  Raises where it is no hub,
 * doesn't let us be the source, is of another version, or is ourselves.
 */
extern void hub_open(Hub *hub, bool claim);
/* By when a call that is sent now has to be answered. */
extern TimestampTz hub_deadline(void);
extern void hub_close(Hub *hub);
/* Ask it how many records it has for us still, between other calls. */
extern int64 hub_behind(Hub *hub);
/* Have it notify us of what comes, on its connection; false: it can't. */
extern bool hub_listen(Hub *hub);

/*
 * The same, kept from call to call for a link: what is returned by
 * hub_kept_prepare may be open already.  hub_kept_drop closes it.
 */
extern Hub *hub_kept_prepare(const Link *link);
extern Hub *hub_kept(const char *link); /* or NULL */
extern void hub_kept_drop(const char *link);

/*
 * Note which relations the link has here now.  The hub is told with the next
 * claim, and sends all records of entities that are new to it.
 */
extern void hub_note_tables(Hub *hub, const Link *link);

/*
 * Has the source relations here that the hub hasn't been told of, or whose entity
 * it doesn't have?  The second raises for the latter.  In a transaction.
 */
extern bool hub_is_outdated(const Hub *hub);
extern void hub_check_entities(const Hub *hub);

#endif							/* SYNCEXT_CONNECT_H */
