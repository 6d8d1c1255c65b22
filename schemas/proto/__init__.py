# SPDX-License-Identifier: Apache-2.0
"""Our Protobuf event type, `note.proto`, as a class. Built from a descriptor, so no compiler is needed; a test compares
the two."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELDS = (("text", 1), ("data", 2))


def _note() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="threadlog/note.proto", package="threadlog", syntax="proto3")
    message = file.message_type.add(name="Note")
    for name, number in FIELDS:
        field = descriptor_pb2.FieldDescriptorProto
        message.field.add(name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("threadlog.Note"))


Note = _note()
