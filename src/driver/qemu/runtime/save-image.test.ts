import { closeSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtError } from '../../../core/errors.ts';
import { beginSaveImage, finishSaveImage, openSaveImage, readSaveImage, rewriteSaveImage } from './save-image.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'save-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const XML = "<domain type='qemu'><name>é</name></domain>";

function write(path: string, isComplete = true): void {
  const { fd } = beginSaveImage(path, { xml: XML, wasRunning: true, format: 'raw' });
  writeSync(fd, 'STREAM');
  if (isComplete) finishSaveImage(fd);
  closeSync(fd);
}

describe('the file of a saved guest', () => {
  it('has libvirt’s header and stands at the stream when opened', () => {
    const path = join(dir, 'a');
    write(path);
    expect(readFileSync(path).toString('latin1', 0, 16)).toBe('LibvirtQemudSave');
    using image = openSaveImage(path);
    expect(image).toMatchObject({ xml: XML, wasRunning: true, format: 'raw' });
    expect(readFileSync(image.fd, 'latin1')).toBe('STREAM');
  });

  it('does not count before it is complete', () => {
    const path = join(dir, 'a');
    write(path, false);
    expect(() => readSaveImage(path)).toThrow(/incomplete/);
  });

  it('takes another definition that fits', () => {
    const path = join(dir, 'a');
    write(path);
    rewriteSaveImage(path, { xml: XML.replace('é', 'web'), wasRunning: false });
    expect(readSaveImage(path)).toMatchObject({ wasRunning: false, xml: XML.replace('é', 'web') });
    using image = openSaveImage(path);
    expect(readFileSync(image.fd, 'latin1')).toBe('STREAM');
    expect(() => rewriteSaveImage(path, { xml: 'x'.repeat(100_000) })).toThrow(/too large/);
    expect(readSaveImage(path).xml).toContain('web');
  });

  it.each([0, 15, 91, 100])('is refused when cut off after %i bytes', (size) => {
    const path = join(dir, 'a');
    write(path);
    truncateSync(path, size);
    expect(() => readSaveImage(path)).toThrow(VirtError);
  });

  it('is refused in words, whatever is in it', () => {
    const path = join(dir, 'a');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        writeFileSync(path, Buffer.concat([Buffer.from('LibvirtQemudSave'), bytes]));
        try {
          readSaveImage(path);
        } catch (error) {
          expect(error).toBeInstanceOf(VirtError);
        }
      }),
    );
  });
});
