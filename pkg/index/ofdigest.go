package index

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// OfDigest returns what the index has of versions whose digest begins with these 24
// hexadecimal digits, after "sha256:" or without it, in whatever repository: sorted by
// repository and digest.
func (ix *Index) OfDigest(ctx context.Context, digest string) ([]Record, error) {
	var list []Record
	err := ix.read(ctx, func(r *reader) error {
		of, err := r.term(fieldFact, "digest="+shortDigest(digest))
		if err != nil {
			return err
		}
		live, err := r.term(fieldLive, "")
		if err != nil {
			return err
		}
		for chunk := range of {
			var set bitset
			live.at(chunk).addTo(&set)
			of[chunk].intersect(&set)
			for _, i := range (posting{bits: &set}).members() {
				record, err := r.record(int64(chunk)*chunkSize + int64(i))
				if err != nil {
					return err
				}
				list = append(list, record)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	slices.SortFunc(list, func(a, b Record) int {
		if a.Repository != b.Repository {
			return strings.Compare(a.Repository, b.Repository)
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return list, nil
}
