package pebble

import (
	"encoding/binary"
	"fmt"

	"clipper/store/log"
)

// valueVersion is the first byte of every value; then follow the two revisions and the object.
const valueVersion = 1

func encode(buf []byte, e log.Entry) []byte {
	buf = append(buf, valueVersion)
	buf = binary.AppendUvarint(buf, uint64(e.Created))
	buf = binary.AppendUvarint(buf, uint64(e.Revision))
	return append(buf, e.Value...)
}

func decode(key string, v []byte) (log.Entry, error) {
	if len(v) == 0 || v[0] != valueVersion {
		return log.Entry{}, fmt.Errorf("key %s: value does not begin with version %d; restore the directory from a backup", key, valueVersion)
	}
	v = v[1:]
	created, n := binary.Uvarint(v)
	if n <= 0 {
		return log.Entry{}, fmt.Errorf("key %s: value is cut short; restore the directory from a backup", key)
	}
	v = v[n:]
	revision, n := binary.Uvarint(v)
	if n <= 0 {
		return log.Entry{}, fmt.Errorf("key %s: value is cut short; restore the directory from a backup", key)
	}
	e := log.Entry{Key: key, Value: v[n:], Created: int64(created), Revision: int64(revision)}
	if e.Created <= 0 || e.Revision < e.Created {
		return log.Entry{}, fmt.Errorf("key %s: created at revision %d, written at %d; restore the directory from a backup", key, e.Created, e.Revision)
	}
	return e, nil
}
