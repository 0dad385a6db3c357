-- Runs as the service principal for every request.
-- @param greeting STRING DEFAULT 'hello'
SELECT current_user AS caller, upper(:greeting) AS greeting
