/*
 * search_path.h
 *	  The search_path that code of a role is run with.
 */
#ifndef SYNCEXT_SEARCH_PATH_H
#define SYNCEXT_SEARCH_PATH_H

/*
 * The search_path of a session of the role in this database, as its settings say, but
 * without the schemas in which others may create objects, and with pg_temp last.
 * Valid until the end of the transaction.
 */
extern const char *search_path_of_role(Oid role);

#endif							/* SYNCEXT_SEARCH_PATH_H */
