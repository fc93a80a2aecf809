/*
 * upstream_options.h
 *	  How to reach the hub behind a link: the options of foreign server and user mapping.
 */
#ifndef SYNCEXT_UPSTREAM_OPTIONS_H
#define SYNCEXT_UPSTREAM_OPTIONS_H

#include "storage/link.h"

/* What libpq is told. */
typedef struct UpstreamOptions
{
	int			n;
	const char **keywords;		/* NULL at the end, as values */
	const char **values;

	/*
	 * The link's owner is no superuser, so the hub has to ask for a password: without
	 * one the link could come in as the database server's own system user.
	 */
	bool		needs_password;
} UpstreamOptions;

/*
 * Read the options of the link's server and user mapping, in a transaction; they are
 * allocated in the current memory context.  Raises where the link's owner may not use
 * the server, has no user mapping, lacks a password that it needs, or where an option
 * that is left to superusers was not set by one.
 */
extern void upstream_options_read(UpstreamOptions *options, const Link *link);
/* An option's value; NULL: it is not set. */
extern const char *upstream_options_find(const UpstreamOptions *options, const char *keyword);
/* Raise 2F003: the detail says where the password is missing. */
extern void upstream_raise_no_password(const char *link, const char *detail);

#endif							/* SYNCEXT_UPSTREAM_OPTIONS_H */
