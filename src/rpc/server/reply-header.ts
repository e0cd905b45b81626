/** The header of whatever answers a call: its reply, and the messages of the stream that it has opened. */
import { type Header, MessageStatus, type MessageType } from '../../protocol/index.ts';

export function replyTo(header: Header, type: MessageType, status: MessageStatus = MessageStatus.OK): Header {
  return {
    program: header.program,
    version: header.version,
    procedure: header.procedure,
    type,
    serial: header.serial,
    status,
  };
}
