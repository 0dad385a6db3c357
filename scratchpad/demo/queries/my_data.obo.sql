-- Runs as the user of the request.
-- @param greeting STRING DEFAULT 'hello'
SELECT current_user AS caller, upper(:greeting) AS greeting
