/*
 * bind.h
 *	  Binding sources' own keys to records, and looking them up.
 */
#ifndef SYNCEXT_BIND_H
#define SYNCEXT_BIND_H

/*
 * The external id of the record that a source knows by a key of its own; NULL: none.
 * Raises if the current user may not act as the source.
 */
extern char *record_of_key(const char *source, const char *entity, const char *source_id);

#endif							/* SYNCEXT_BIND_H */
