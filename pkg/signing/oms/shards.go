package oms

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
)

const (
	methodShards   = "shards"
	shardAlgorithm = "sha256-sharded-" // and the size, as some writers have it
	maxShardSize   = 1 << 50

	// algorithmSharded is of digests that no file has, whatever is in it.
	algorithmSharded digest.Algorithm = "shards"
)

// Sharded is the digest by which [Statement.Compare] knows a file of more than one
// shard, when of is the SHA-256 over the SHA-256s of its shards, in order.
func Sharded(of digest.Digest) digest.Digest {
	return digest.NewDigestFromEncoded(algorithmSharded, of.Encoded())
}

// A shard is a part of a file.
type shard struct {
	start, end int64
	digest     digest.Digest
}

// parseShardSize reads a size of shards, which some writers have as a float.
func parseShardSize(raw jsontext.Value) (int64, error) {
	text := string(raw)
	if n, err := strconv.ParseInt(strings.TrimSuffix(text, ".0"), 10, 64); err == nil && n > 0 && n <= maxShardSize {
		return n, nil
	}
	return 0, fmt.Errorf("size of shards is %s, no number of bytes", quoted(text))
}

// shards puts the files together of which a statement lists the shards. Of each
// all must be there, and as large as they have to be: what nobody signed could
// lie between them.
func (p wirePredicate) shards(st *Statement) error {
	var err error
	if st.ShardSize, err = parseShardSize(p.Serialization.ShardSize); err != nil {
		return err
	}
	files := make(map[string][]shard)
	for i, r := range p.Resources {
		if r.Algorithm != hashSHA256 && r.Algorithm != shardAlgorithm+strconv.FormatInt(st.ShardSize, 10) {
			return fmt.Errorf("shard %d of the list: digest by %s, not %s", i+1, quoted(r.Algorithm), hashSHA256)
		}
		dgst := digest.NewDigestFromEncoded(digest.SHA256, r.Digest)
		if dgst.Validate() != nil {
			return fmt.Errorf("shard %+q: %.80q is no SHA-256", quoted(r.Name), r.Digest)
		}
		name, start, end, ok := splitShard(r.Name)
		if !ok {
			return fmt.Errorf("%s is no shard of a file", quoted(r.Name))
		}
		files[name] = append(files[name], shard{start, end, dgst})
		st.Shards = append(st.Shards, Resource{Name: r.Name, Digest: dgst})
	}
	for name, parts := range files {
		if err := checkName(name); err != nil {
			return err
		}
		whole, err := join(parts, st.ShardSize)
		if err != nil {
			return fmt.Errorf("file %+q: %w", name, err)
		}
		st.Resources = append(st.Resources, Resource{Name: name, Digest: whole})
	}
	slices.SortFunc(st.Resources, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// splitShard takes a shard's name apart: the file's, where it begins, and where it
// ends.
func splitShard(name string) (file string, start, end int64, ok bool) {
	rest, last, found := cutLast(name)
	file, first, both := cutLast(rest)
	start, okStart := offset(first)
	end, okEnd := offset(last)
	return file, start, end, found && both && okStart && okEnd
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// offset reads a number as it is written, and in no other way.
func offset(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// join returns the digest of a file by its shards: its own, if there is one.
func join(parts []shard, size int64) (digest.Digest, error) {
	slices.SortFunc(parts, func(a, b shard) int { return cmp.Compare(a.start, b.start) })
	all := sha256.New()
	at := int64(0)
	for i, s := range parts {
		n := s.end - s.start
		if s.start != at || n <= 0 || n > size || n < size && i < len(parts)-1 {
			return "", fmt.Errorf("shard of the bytes %d to %d, where one of %d from %d is due", s.start, s.end, size, at)
		}
		at = s.end
		raw, err := hex.DecodeString(s.digest.Encoded())
		if err != nil {
			return "", err
		}
		all.Write(raw)
	}
	if len(parts) == 1 {
		return parts[0].digest, nil
	}
	return Sharded(digest.NewDigest(digest.SHA256, all)), nil
}
