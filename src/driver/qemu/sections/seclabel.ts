/** The guest's security labels: which may stand together. Labelling files and processes is the runtime's work. */
import { type DomainContext, fault } from '../context.ts';

/** One label per security model, named where there are several. */
export function validateSeclabels(context: DomainContext): void {
  const { seclabels } = context.domain;
  const seen = new Set<string>();
  for (const seclabel of seclabels) {
    const { model } = seclabel;
    if (model === undefined) {
      if (seclabels.length > 1) fault(context, seclabel, 'several <seclabel> elements need a model each', '@model');
      continue;
    }
    if (seen.has(model)) fault(context, seclabel, `there is a <seclabel> of model '${model}' already`, '@model');
    seen.add(model);
  }
}
