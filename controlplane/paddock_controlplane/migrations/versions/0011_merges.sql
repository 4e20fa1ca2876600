-- Models beside its base whose weights went into a model.
ALTER TABLE registered_models ADD COLUMN merged_with jsonb NOT NULL DEFAULT '[]';
