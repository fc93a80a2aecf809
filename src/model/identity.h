/*
 * identity.h
 *	  Which database is it at the other end of a link: the one that was there, a
 *	  later one that takes its place, or one that must not be taken for it?
 */
#ifndef SYNCEXT_IDENTITY_H
#define SYNCEXT_IDENTITY_H

#include "utils/jsonb.h"

/* How many databases before it a restored one remembers. */
#define IDENTITY_MAX_ANCESTORS	20

/* What a database can see of itself. */
typedef struct Identity
{
	bool		known;			/* false: nothing is, and the rest is void */
	const char *mark;			/* a uuid: made by CREATE EXTENSION, or when a dump was
								 * restored */
	int			nancestors;		/* marks of the databases whose dump was restored */
	const char **ancestors;
	uint64		system;			/* identifier of its cluster */
	Oid			database;
	uint32		timeline;
	int64		epoch;			/* grows whenever it may have gone back in time */
	/* hashes of where it stands, that say little each: of the host's name, of the
	 * data directory's, and of where that is on its disk */
	int64		host;
	int64		directory;
	int64		inode;
} Identity;

typedef enum IdentityCase
{
	IDENTITY_NEW,				/* no database is known to compare with */
	IDENTITY_SAME,
	IDENTITY_UPGRADED,			/* another cluster, nothing missed */
	IDENTITY_PROMOTED,			/* a later timeline, nothing missed */
	/* the one that is known, gone back in time: what it lost is brought back */
	IDENTITY_BEHIND,
	/* these are refused */
	IDENTITY_OTHER,
	IDENTITY_COPY,				/* another database of the same cluster */
	IDENTITY_OLD_PRIMARY,
	IDENTITY_MOVED,				/* elsewhere, nothing missed: moved, or a copy */
	IDENTITY_DOUBTFUL			/* elsewhere, and behind: restored there, or a copy */
} IdentityCase;

/*
 * Decide which database has said this of itself.  current: it knows all that was
 * exchanged with the known one.  chosen: the deciding side connected to it by its
 * address, so that where it stands is no evidence; a copy of it would not be met.
 */
extern IdentityCase identity_judge(const Identity *known, const Identity *said, bool current,
								   bool chosen);
extern bool identity_is_refused(IdentityCase which);
extern const char *identity_case_name(IdentityCase which);

/* To and from JSON; the second returns false where it is none. */
extern Jsonb *identity_to_jsonb(const Identity *identity);
extern bool identity_from_jsonb(const Jsonb *jsonb, Identity *identity);

#endif							/* SYNCEXT_IDENTITY_H */
