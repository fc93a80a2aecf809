/*
 * put_out.h
 *	  Can a record be sent to a client?
 */
#ifndef SYNCEXT_PUT_OUT_H
#define SYNCEXT_PUT_OUT_H

#include "utils/jsonb.h"
#include "utils/memutils.h"

/* No text is larger than this. */
#define PUT_OUT_BYTES	((Size) MaxAllocSize / 2)

/*
 * NULL, or why the record can't be put out as text of no more than max bytes in the
 * client's encoding.  *bytes is how many it has at most.
 */
extern const char *put_out_error(const char *entity, const char *external_id, Jsonb *fields,
								 Size max, Size *bytes);

#endif							/* SYNCEXT_PUT_OUT_H */
