/*
 * hints.h
 *	  Hints that name a call of ours.
 */
#ifndef SYNCEXT_HINTS_H
#define SYNCEXT_HINTS_H

/*
 * Like errhint() and psprintf(), for a text with SELECT sync_… or CALL sync_…: where
 * the search_path doesn't lead to the extension's schema, the function gets it before
 * its name, so that the call can be copied.  syncext.callable() does so in SQL.
 */
extern char *call_text(const char *format,...) pg_attribute_printf(1, 2);
#define errhint_call(...)	errhint("%s", call_text(__VA_ARGS__))

#endif							/* SYNCEXT_HINTS_H */
