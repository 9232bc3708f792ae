package image

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"clipper/image/unpack"
)

// maxMetadata bounds manifests and configurations; registries refuse larger ones too.
const maxMetadata = 4 << 20

// maxLayers is what overlayfs stacks at most.
const maxLayers = 500

// ingest makes img whole in the store and puts it into the index under the given names. label is what progress
// and errors call it.
func (s *Store) ingest(ctx context.Context, label string, img v1.Image, tags, digests []string, imported bool) (record, error) {
	release, err := s.adding()
	if err != nil {
		return record{}, err
	}
	defer release()
	rec, err := s.describe(img)
	if err != nil {
		return record{}, err
	}
	rec.Tags, rec.Digests, rec.Imported = union(tags, nil), union(digests, nil), imported
	if err := s.addLayers(ctx, label, img, rec.Layers); err != nil {
		return record{}, err
	}
	if err := s.addMetadata(img, rec); err != nil {
		return record{}, err
	}
	err = s.change(func(ix *index) (*index, error) {
		next := ix.with(rec)
		rec = next.Images[len(next.Images)-1]
		return next, nil
	})
	return rec, err
}

// describe reads an image's manifest and configuration and checks what hostile ones could break.
func (s *Store) describe(img v1.Image) (record, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return record{}, fmt.Errorf("read manifest: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return record{}, fmt.Errorf("read manifest: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return record{}, fmt.Errorf("read configuration: %w", err)
	}
	id, err := img.ConfigName()
	if err != nil {
		return record{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(manifest.Layers) > maxLayers {
		return record{}, fmt.Errorf("image has %d layers; at most %d can be stacked", len(manifest.Layers), maxLayers)
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return record{}, fmt.Errorf("manifest lists %d layers, configuration %d", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	if config.OS != "" && config.OS != "linux" {
		return record{}, fmt.Errorf("image is for %s, not for linux", config.OS)
	}
	if manifest.Config.Size < 0 {
		return record{}, fmt.Errorf("configuration: a size of %d bytes", manifest.Config.Size)
	}
	rec := record{
		ID: id.String(), Manifest: digest.String(), User: config.Config.User, StopSignal: config.Config.StopSignal,
		Size: manifest.Config.Size, Added: time.Now().UTC().Truncate(time.Second),
	}
	for i, d := range manifest.Layers {
		diff := config.RootFS.DiffIDs[i]
		if d.Digest.Algorithm != "sha256" || diff.Algorithm != "sha256" {
			return record{}, fmt.Errorf("layer %d: digest algorithm %q is not supported", i+1, d.Digest.Algorithm)
		}
		if d.Size < 0 || rec.Size+d.Size < rec.Size {
			return record{}, fmt.Errorf("layer %d: a size of %d bytes", i+1, d.Size)
		}
		rec.Layers = append(rec.Layers, layer{Blob: d.Digest.String(), DiffID: diff.String(), Size: d.Size})
		rec.Size += d.Size
	}
	return rec, nil
}

// A stagedLayer is a layer in tmp: verified, without its final name.
type stagedLayer struct {
	layer
	blob, dir string // "" once at their places
}

func (st *stagedLayer) discard() {
	if st.blob != "" {
		os.Remove(st.blob)
	}
	if st.dir != "" {
		os.RemoveAll(st.dir)
	}
}

// addLayers fetches and unpacks what the store lacks, a few layers at a time. What is complete stays when another
// layer fails: the next attempt need not fetch it again, and a collection takes it if there is none.
func (s *Store) addLayers(ctx context.Context, label string, img v1.Image, layers []layer) error {
	sources, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read layers: %w", err)
	}
	progress := &progress{}
	for _, l := range layers {
		progress.total += l.Size
	}
	defer progress.report(s.log, label)()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.atOnce)
	seen := map[string]bool{}
	for i, l := range layers {
		if seen[l.DiffID] { // the empty layer often occurs many times
			continue
		}
		seen[l.DiffID] = true
		group.Go(func() error {
			if err := s.addLayer(ctx, l, sources[i], progress); err != nil {
				return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(layers), l.Blob, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// addLayer makes one layer whole in the store: one of those who want it at the same time.
func (s *Store) addLayer(ctx context.Context, l layer, source v1.Layer, progress *progress) error {
	unlock, err := s.unpacked.lock(ctx, l.DiffID)
	if err != nil {
		return err
	}
	defer unlock()
	if exists(s.layerPath(l.DiffID)) && exists(s.blobPath(l.Blob)) {
		progress.done.Add(l.Size)
		return nil
	}
	st := &stagedLayer{layer: l}
	defer st.discard()
	if err := s.stageLayer(ctx, st, source, progress); err != nil {
		return err
	}
	return s.publish(st)
}

func (s *Store) stageLayer(ctx context.Context, st *stagedLayer, source v1.Layer, progress *progress) error {
	stream, err := source.Compressed()
	if err != nil {
		return err
	}
	defer stream.Close()
	blob, err := os.CreateTemp(s.path("tmp"), "blob-")
	if err != nil {
		return err
	}
	defer blob.Close()
	st.blob = blob.Name()
	if err := blob.Chmod(0o600); err != nil {
		return err
	}
	if st.dir, err = os.MkdirTemp(s.path("tmp"), "layer-"); err != nil {
		return err
	}
	// The directory becomes the container's "/" unless the layer says otherwise.
	if err := os.Chmod(st.dir, 0o755); err != nil {
		return err
	}
	s.step("staging")
	return s.receive(ctx, st, io.TeeReader(bounded(progress.count(stream), st.Size), blob))
}

// receive reads the layer once: to its blob file, its digests and its directory at the same time.
func (s *Store) receive(ctx context.Context, st *stagedLayer, stream io.Reader) error {
	blobSum, diffSum := sha256.New(), sha256.New()
	stream = io.TeeReader(&ctxReader{ctx: ctx, r: stream}, blobSum)
	plain, closePlain, err := decompress(stream)
	if err != nil {
		return err
	}
	defer closePlain()
	content := io.TeeReader(plain, diffSum)
	if err := unpack.Layer(ctx, content, st.dir, s.limits); err != nil {
		return err
	}
	// The tar reader stops at its end mark; the digests go over the padding as well.
	if _, err := io.Copy(io.Discard, io.LimitReader(content, 64<<20)); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	if got := "sha256:" + hex.EncodeToString(blobSum.Sum(nil)); got != st.Blob {
		return fmt.Errorf("content has digest %s; the transfer or the registry is damaged, try again", got)
	}
	if got := "sha256:" + hex.EncodeToString(diffSum.Sum(nil)); got != st.DiffID {
		return fmt.Errorf("uncompressed content has digest %s, the image's configuration says %s", got, st.DiffID)
	}
	return nil
}

// addMetadata writes an image's manifest and configuration.
func (s *Store) addMetadata(img v1.Image, rec record) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	for digest, b := range map[string][]byte{rec.Manifest: manifest, rec.ID: config} {
		sum := sha256.Sum256(b)
		if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
			return fmt.Errorf("manifest or configuration has digest %s instead of %s", got, digest)
		}
		if len(b) > maxMetadata {
			return fmt.Errorf("manifest or configuration of %d bytes is larger than the limit of %d", len(b), maxMetadata)
		}
		if !exists(s.blobPath(digest)) {
			if err := writeFileSynced(s.blobPath(digest), b); err != nil {
				return err
			}
		}
		s.step("metadata")
	}
	return nil
}

// publish syncs a staged layer to disk and gives it its final names.
func (s *Store) publish(st *stagedLayer) error {
	s.step("staged")
	// One flush of the file system for thousands of files: by file it would take minutes.
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(dir.Fd()))
	dir.Close()
	if err != nil {
		return fmt.Errorf("write layer to disk: %w", err)
	}
	s.step("synced")
	if err := s.place(st); err != nil {
		return err
	}
	return errors.Join(syncDir(s.path("blobs", "sha256")), syncDir(s.path("layers")))
}

func (s *Store) place(st *stagedLayer) error {
	if st.blob != "" {
		if err := os.Rename(st.blob, s.blobPath(st.Blob)); err != nil {
			return err
		}
		st.blob = ""
	}
	s.step("blob placed")
	err := os.Rename(st.dir, s.layerPath(st.DiffID))
	s.step("layer placed")
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil // another process was first; ours is discarded
	}
	if err == nil {
		st.dir = ""
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// decompress recognises the compression by its first bytes: media types are often wrong.
func decompress(r io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress layer: %w", err)
		}
		return zr, func() { zr.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("decompress layer: %w", err)
		}
		return zr, zr.Close, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(br), func() {}, nil
	}
	return br, func() {}, nil
}

// bounded fails once more than size bytes come, so that a registry cannot fill the disk with a stream that
// will be refused at its end anyway.
func bounded(r io.Reader, size int64) io.Reader {
	return &boundedReader{r: r, left: size}
}

type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.New("more bytes than the manifest says")
	}
	return n, err
}

// ctxReader ends a transfer when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
