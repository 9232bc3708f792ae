// Package archive reads and writes image archives: the docker-archive format (manifest.json) and OCI image
// layouts (index.json), as tar files, plain or compressed with gzip, alone or both in one file.
//
// An archive comes from anyone. Nothing of it is unpacked here; its entries are found by name in a table and
// read in place, and the table and the documents are bounded.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
)

// An Entry is one image of an archive with the full references it goes by, possibly none.
type Entry struct {
	Names []string
	Image v1.Image
}

const (
	maxEntries  = 100_000
	maxDocument = 8 << 20
)

// A Reader gives access to an archive's images until it is closed.
type Reader struct {
	r       io.ReaderAt
	spool   *os.File // uncompressed copy, or nil
	entries map[string]span
	sums    map[string]v1.Hash // of docker-archive layers, by entry name
}

type span struct {
	offset, size int64
	link         string // the entry this one stands for
}

// Open reads the table of the archive f. tmp is a folder for an uncompressed copy, needed if f is compressed
// or cannot be read at random, such as a pipe.
func Open(f *os.File, tmp string) (*Reader, error) {
	r := &Reader{entries: map[string]span{}, sums: map[string]v1.Hash{}}
	br := bufio.NewReaderSize(f, 64<<10)
	head, err := br.Peek(2)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", noEOF(err))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	packed := bytes.Equal(head, []byte{0x1f, 0x8b})
	if !packed && info.Mode().IsRegular() {
		r.r = f
		return r, r.scan(io.NewSectionReader(f, 0, info.Size()))
	}
	var content io.Reader = br
	if packed {
		if content, err = gzip.NewReader(br); err != nil {
			return nil, fmt.Errorf("decompress archive: %w", err)
		}
	}
	if err := r.copyTo(tmp, content); err != nil {
		r.Close()
		return nil, err
	}
	if _, err := r.spool.Seek(0, io.SeekStart); err != nil {
		r.Close()
		return nil, err
	}
	r.r = r.spool
	if err := r.scan(r.spool); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) copyTo(tmp string, content io.Reader) error {
	f, err := os.CreateTemp(tmp, "archive-")
	if err != nil {
		return fmt.Errorf("copy archive: %w", err)
	}
	r.spool = f
	// Without a name it needs no removal, not even after a crash.
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("copy archive: %w", err)
	}
	if _, err := io.Copy(f, content); err != nil {
		return fmt.Errorf("copy archive: %w", err)
	}
	return nil
}

// Close frees the copy, if there is one. The file given to Open stays open.
func (r *Reader) Close() error {
	if r.spool != nil {
		return r.spool.Close()
	}
	return nil
}

func (r *Reader) scan(f io.ReadSeeker) error {
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w; is it an image archive in tar format?", noEOF(err))
		}
		if len(r.entries) >= maxEntries {
			return fmt.Errorf("read archive: more than %d entries", maxEntries)
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			r.entries[name] = span{offset: offset, size: h.Size}
		case tar.TypeSymlink: // older docker save: a layer that occurs twice
			r.entries[name] = span{link: path.Join("/", path.Dir(name), h.Linkname)[1:]}
		case tar.TypeLink:
			r.entries[name] = span{link: path.Clean("/" + h.Linkname)[1:]}
		}
	}
}

// open returns the content of an entry.
func (r *Reader) open(name string) (*io.SectionReader, error) {
	name = path.Clean("/" + name)[1:]
	const longestChain = 8
	for range longestChain {
		s, ok := r.entries[name]
		if !ok {
			break
		}
		if s.link == "" {
			return io.NewSectionReader(r.r, s.offset, s.size), nil
		}
		name = s.link
	}
	return nil, fmt.Errorf("archive has no file %q: %w", name, os.ErrNotExist)
}

func (r *Reader) document(name string) ([]byte, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	if f.Size() > maxDocument {
		return nil, fmt.Errorf("archive: %s has %d bytes, more than %d", name, f.Size(), maxDocument)
	}
	b := make([]byte, f.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("archive: read %s: %w", name, noEOF(err))
	}
	return b, nil
}

func (r *Reader) decode(name string, into any) error {
	b, err := r.document(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("archive: parse %s: %w", name, err)
	}
	return nil
}

// blob returns a document of an OCI layout, verified.
func (r *Reader) blob(h v1.Hash) ([]byte, error) {
	b, err := r.document(blobName(h))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	if hex.EncodeToString(sum[:]) != h.Hex || h.Algorithm != "sha256" {
		return nil, fmt.Errorf("archive: content of %s does not match its digest", h)
	}
	return b, nil
}

func blobName(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// Images returns the archive's images for linux on arch. Of an archive in both formats the OCI one is read,
// which keeps the digests, and the names of both are taken.
func (r *Reader) Images(arch string) ([]Entry, error) {
	_, hasOCI := r.entries["index.json"]
	_, hasDocker := r.entries["manifest.json"]
	switch {
	case hasOCI && hasDocker:
		entries, err := r.ociImages(arch)
		if err != nil {
			return nil, err
		}
		return entries, r.addDockerNames(entries)
	case hasOCI:
		return r.ociImages(arch)
	case hasDocker:
		return r.dockerImages()
	}
	return nil, errors.New("archive has neither index.json (OCI layout) nor manifest.json (docker save); is it an image archive?")
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// union adds the names of b that a lacks.
func union(a, b []string) []string {
	for _, n := range b {
		if n = strings.TrimSpace(n); n != "" && !slices.Contains(a, n) {
			a = append(a, n)
		}
	}
	return a
}
