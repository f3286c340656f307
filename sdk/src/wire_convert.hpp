#pragma once

#include <cstdint>

#include "core/format/attributes.hpp"
#include "core/format/description.hpp"
#include "core/format/record_check.hpp"
#include "core/seal/secret_key.hpp"
#include "sdk/src/wire.hpp"

/// Tables of the wire from and to core's own types. What comes from the wire is checked as far as
/// its enumerators and sizes go; whether it makes sense is for core's check_*() to say.
namespace kvault::wire {

using Builder = flatbuffers::FlatBufferBuilder;

SessionId to_wire(const kvault::SessionId& id);
kvault::SessionId from_wire(const SessionId& id);

RequestKey to_wire(const kvault::RequestKey& key);
kvault::RequestKey from_wire(const RequestKey* key);  ///< all zero where there is none

flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> to_wire(Builder& builder,
                                                               const SecretKey& key);
/// Errc::invalid_argument for another size than 32 bytes.
Result<SecretKey> from_wire(const flatbuffers::Vector<std::uint8_t>& key);

flatbuffers::Offset<Description> to_wire(Builder& builder, const SessionDescription& description);
/// Errc::invalid_argument names the layer and the number that no kind or scheme has.
Result<SessionDescription> from_wire(const Description& description);

flatbuffers::Offset<BeginRecord> to_wire(Builder& builder, const kvault::SessionId& session,
                                         const RecordDraft& draft);
/// Errc::invalid_argument names the number that no kind or format has.
Result<RecordDraft> from_wire(const BeginRecord& request);

}  // namespace kvault::wire
