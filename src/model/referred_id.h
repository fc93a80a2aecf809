/*
 * referred_id.h
 *	  Which record a field refers to.
 */
#ifndef SYNCEXT_REFERRED_ID_H
#define SYNCEXT_REFERRED_ID_H

#include "model/change.h"

/* The external id that a value names; NULL where it names none, as one that is too long. */
extern char *referred_id(const JsonbValue *value);
/*
 * The id of the record of entity parent that the change refers to by the field; NULL:
 * it refers to none, or to the record that arrives with it.
 */
extern char *referred_id_of_change(const Change *change, const char *field, const char *parent);

#endif							/* SYNCEXT_REFERRED_ID_H */
