/**
 * libvirt's wire protocol as data: messages, limits, errors, and one table of all procedures of each program, from which client,
 * server, fuzzers and `docs/protocol.md` follow.
 */

export { errorFromWire, errorToWire, type MessageError, messageError } from './error.ts';
export {
  encodeFrame,
  encodeFrameHead,
  encodeRawFrame,
  type Frame,
  FrameSplitter,
  type Header,
  KeepaliveProcedure,
  MessageStatus,
  MessageType,
  PROGRAM_VERSION,
  Program,
  readFrame,
  streamHole,
} from './frame.ts';
export { FrameReader } from './frame-reader.ts';
export { Max, MESSAGE_MAX, STREAM_CHUNK } from './limits.ts';
export { LXC_PROCEDURES } from './lxc.ts';
export type { ArgsOf, EventMessage, MessageOf, Procedure, ReturnOf, Row } from './procedure.ts';
export { QEMU_PROCEDURES } from './qemu.ts';
export { REMOTE_PROCEDURES } from './remote/index.ts';
export { fromTypedParams, type ParamRecord, type TypedParam, toTypedParams } from './typed-params.ts';
