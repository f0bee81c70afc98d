-- An API process in a pod is told from others by the pod's name: its process id is the same in all of them.
ALTER TABLE api_processes ADD COLUMN pod TEXT;
