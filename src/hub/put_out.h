/*
 * put_out.h
 *	  Can a record be sent to a client?
 */
#ifndef SYNCEXT_PUT_OUT_H
#define SYNCEXT_PUT_OUT_H

#include "utils/jsonb.h"

/* NULL, or why the record can't be put out as text in the client's encoding. */
extern const char *put_out_error(const char *entity, const char *external_id, Jsonb *fields);

#endif							/* SYNCEXT_PUT_OUT_H */
