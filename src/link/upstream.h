/*
 * upstream.h
 *	  The hub behind a link: connect to it, and hear what it says of itself.
 */
#ifndef SYNCEXT_UPSTREAM_H
#define SYNCEXT_UPSTREAM_H

#include "nodes/pg_list.h"

#include "link/hello.h"
#include "link/remote.h"
#include "link/upstream_options.h"
#include "storage/link.h"

/* Statements that are prepared at the hub. */
#define UPSTREAM_PUSH	"syncext_push"	/* source, batch, changes */
#define UPSTREAM_PULL	"syncext_pull"	/* source, max_records, max_bytes; columns: see exchange_pull.c */
#define UPSTREAM_ACK	"syncext_ack"	/* source, batch, failed */

/* A hub, connected to or about to be; lives until upstream_close. */
typedef struct Upstream
{
	MemoryContext context;		/* of all this */
	const char *link;
	const char *source;			/* that this side is at the hub */
	const char *wire_source;	/* its name in the wire's encoding */
	const char *server;			/* foreign server that says how to connect */
	Oid			owner;			/* of the link, and of the user mapping */
	bool		relay;			/* this side is a hub, and comes as a whole */
	UpstreamOptions options;	/* how to connect */
	Greeting	greeting;		/* our identity, and what both sides know of each other */
	bool		outdated;		/* server or user mapping were altered since */
	char	   *tables;			/* relations that take records here: see upstream_note_tables();
								 * NULL: the hub isn't told of them */
	char	   *told_tables;	/* those that the hub was told of; NULL: none */
	Remote		remote;

	/* as the hub said */
	const char *schema;			/* of its sync_ functions, quoted, in the wire's encoding */
	const char *database_id;	/* of the hub: a uuid */
	List	   *entities;		/* that it has for the source, of char * */
	int64		behind;			/* records that it still had for us; -1: it hasn't said */
} Upstream;

/*
 * Collect what is needed to connect, in a transaction: the options of server and user
 * mapping, and our identity.  Raises where upstream_options_read() does.
 */
extern Upstream *upstream_prepare(const Link *link);
/* Read our identity again, in a transaction, before a connected hub is told once more. */
extern void upstream_greet(Upstream *upstream);
/*
 * Connect, and do the handshake; no transaction is needed.  With claim the hub takes
 * the source for this database's from now on.  Raises where the other side is no hub,
 * refuses us the source, or has another protocol; what its greeting means,
 * greeting_check() judges.
 */
extern void upstream_open(Upstream *upstream, bool claim);
/* By when a call that is sent now has to be answered. */
extern TimestampTz upstream_deadline(void);
extern void upstream_close(Upstream *upstream);
/* Ask the hub how many records it still has for us; between other calls. */
extern int64 upstream_behind(Upstream *upstream);
/* Have the hub notify us of new records, on this connection; raises if it can't. */
extern void upstream_listen(Upstream *upstream);

/*
 * Note which relations the link has here now.  The next claim tells the hub, which
 * then sends all records of entities that are new to it.
 */
extern void upstream_note_tables(Upstream *upstream, const Link *link);

/*
 * Has the source relations here that the hub hasn't been told of, or whose entity the
 * hub doesn't have?  In a transaction.
 */
extern bool upstream_is_outdated(const Upstream *upstream);
/* Raise 42704 for a relation whose entity the hub doesn't have.  In a transaction. */
extern void upstream_check_entities(const Upstream *upstream);

#endif							/* SYNCEXT_UPSTREAM_H */
