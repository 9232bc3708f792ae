package encrypt

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// A Stage says how far the change to a new key has come. Every stage is written to the file before the server is told,
// and every server must have read it before the next begins; so a change that was interrupted goes on where it was.
type Stage int

// The stages of a rotation, in order.
const (
	Settled  Stage = iota // one key, or one made by hand is in use: nothing is under way
	Prepared              // the new key can be read with, the old one is still written with
	Rotated               // the new key is written with, the old one can still be read with
)

func (s Stage) String() string { return [...]string{"settled", "prepared", "rotated"}[s] }

// madeName is the form of the names that newKey gives.
var madeName = regexp.MustCompile(`\Akey-[0-9]{8}t[0-9]{6}\z`)

// keys returns the keys of the provider that a resource configuration writes with.
func keys(r *apiserverv1.ResourceConfiguration) (*[]apiserverv1.Key, error) {
	if len(r.Providers) == 0 {
		return nil, errors.New("it names no providers")
	}
	switch p := r.Providers[0]; {
	case p.Secretbox != nil:
		return &p.Secretbox.Keys, nil
	case p.AESGCM != nil:
		return &p.AESGCM.Keys, nil
	case p.AESCBC != nil:
		return &p.AESCBC.Keys, nil
	case p.KMS != nil:
		return nil, fmt.Errorf("KMS plug-in %q has keys of its own; rotate them there, then re-encrypt", p.KMS.Name)
	}
	return nil, errors.New("its first provider is identity, which has no key")
}

// stage says how far the keys of one resource configuration are.
func stage(keys []apiserverv1.Key) Stage {
	if len(keys) < 2 {
		return Settled
	}
	newest := 0
	for i, k := range keys {
		if madeName.MatchString(k.Name) && (!madeName.MatchString(keys[newest].Name) || k.Name > keys[newest].Name) {
			newest = i
		}
	}
	switch {
	case !madeName.MatchString(keys[newest].Name):
		return Settled
	case newest == 0:
		return Rotated
	}
	return Prepared
}

// Stage returns the earliest stage of any resource configuration with keys of its own.
func (f *File) Stage() (Stage, error) {
	least := Stage(-1)
	for i := range f.Config.Resources {
		k, err := keys(&f.Config.Resources[i])
		if err != nil {
			return 0, fmt.Errorf("%s: resources %v: %w", f.Path, f.Config.Resources[i].Resources, err)
		}
		if s := stage(*k); least < 0 || s < least {
			least = s
		}
	}
	return max(least, Settled), nil
}

// Advance takes every resource configuration that is at stage to the one behind it: a new key is made, put first, or
// left alone as the only one. What a file holds beside the keys of its first providers stays as it is.
func (f *File) Advance(from Stage, now time.Time) error {
	for i := range f.Config.Resources {
		k, err := keys(&f.Config.Resources[i])
		if err != nil {
			return err
		}
		if stage(*k) == from {
			*k = advanced(*k, from, now)
		}
	}
	return f.Write()
}

func advanced(keys []apiserverv1.Key, from Stage, now time.Time) []apiserverv1.Key {
	switch from {
	case Settled:
		k := newKey(now)
		for slices.ContainsFunc(keys, func(old apiserverv1.Key) bool { return old.Name == k.Name }) {
			now = now.Add(time.Second)
			k = newKey(now)
		}
		return append(slices.Clone(keys), k)
	case Prepared:
		newest := slices.MaxFunc(keys, func(a, b apiserverv1.Key) int {
			switch am, bm := madeName.MatchString(a.Name), madeName.MatchString(b.Name); {
			case am && !bm:
				return 1
			case bm && !am:
				return -1
			case a.Name < b.Name:
				return -1
			}
			return 1
		})
		rest := slices.DeleteFunc(slices.Clone(keys), func(k apiserverv1.Key) bool { return k == newest })
		return append([]apiserverv1.Key{newest}, rest...)
	}
	return keys[:1:1]
}

// A Status is what a server says of its encryption.
type Status struct {
	Hash  string         `json:"hash"`            // of the file in use, as FileHash
	Stale map[string]int `json:"stale"`           // objects by resource that are not encrypted as the file says now
	Error string         `json:"error,omitempty"` // why the file on disk is not the one in use
}

// Left counts the objects that are not encrypted as the file says.
func (s *Status) Left() (n int) {
	for _, some := range s.Stale {
		n += some
	}
	return n
}

// A Server is one that encrypts by a file.
type Server interface {
	// Status makes the server look at its file, and says what it has in use.
	Status() (*Status, error)
	// Rewrite makes it write again what is stale, for a while, and says what is left.
	Rewrite() (*Status, error)
}

// Rotate takes the file at path to a new key, and all data of the server with it. Whatever interrupts it, nothing gets
// lost, and calling it again goes on. tell is called with each step.
func Rotate(path string, s Server, now time.Time, tell func(string)) error {
	for {
		f, err := ReadFile(path)
		if err != nil {
			return err
		}
		at, err := f.Stage()
		if err != nil {
			return err
		}
		if err := inUse(path, s); err != nil {
			return err
		}
		if at == Rotated {
			if err := Rewrite(s, tell); err != nil {
				return err
			}
		}
		tell([...]string{
			Settled: "adding a new key, to read with", Prepared: "writing with the new key", Rotated: "removing the old key",
		}[at])
		if err := f.Advance(at, now); err != nil {
			return err
		}
		if err := inUse(path, s); err != nil {
			return err
		}
		if at == Rotated {
			return nil
		}
	}
}

// inUse makes sure that the server encrypts by what is in the file.
func inUse(path string, s Server) error {
	st, err := s.Status()
	if err != nil {
		return err
	}
	want, err := FileHash(path)
	if err != nil {
		return err
	}
	if st.Hash != want {
		return fmt.Errorf("the server does not use what is in %s: %s", path, st.Error)
	}
	return nil
}

// Rewrite makes the server write again what is stale, until nothing is, or it does not get less.
func Rewrite(s Server, tell func(string)) error {
	for before := -1; ; {
		st, err := s.Rewrite()
		if err != nil {
			return err
		}
		left := st.Left()
		if left == 0 {
			return nil
		}
		if left == before {
			return fmt.Errorf("%d objects cannot be written again: %s", left, st.Error)
		}
		tell(fmt.Sprintf("%d objects to go", left))
		before = left
	}
}
